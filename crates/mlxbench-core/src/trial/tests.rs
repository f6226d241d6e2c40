use std::collections::BTreeSet;

use super::*;
use crate::Scheme;

fn case(name: &str) -> &'static Case {
    let mut all = Case::all().iter();
    all.find(|case| case.name == name).unwrap()
}

/// `numbers` as a device would give them in `element`.
fn rounded(element: ElementType, shape: &[usize], numbers: &[f64]) -> Tensor {
    match element {
        ElementType::I64 => Tensor::ints(shape, numbers.iter().map(|&x| x as i64).collect()),
        _ => {
            let rounded = numbers.iter().map(|&x| element.round(x as f32));
            Tensor::floats(shape, rounded.collect())
        }
    }
}

/// Every cell.
fn all() -> impl Iterator<Item = (&'static Case, ElementType, Program)> {
    Case::all().iter().flat_map(|case| {
        let elements = case.elements.iter();
        elements.map(move |&element| (case, element, case.program(element)))
    })
}

#[test]
fn rows_have_names_of_their_own_and_try_every_operation() {
    let names: BTreeSet<&str> = Case::all().iter().map(|case| case.name).collect();
    assert_eq!(names.len(), Case::all().len());
    let tried: BTreeSet<&str> = all().map(|(_, _, program)| program.op()).collect();
    assert_eq!(tried, BTreeSet::from(Program::OPS));
}

#[test]
fn inputs_are_exact_in_their_dtype_and_survive_the_wire() {
    for (case, element, program) in all() {
        program.check().unwrap();
        let wire = serde_json::to_string(&program).unwrap();
        assert_eq!(
            serde_json::from_str::<Program>(&wire).unwrap(),
            program,
            "{}",
            case.name
        );
        let expected = program.expected(element).unwrap();
        let exact = |x: f64| x.abs() < 2_f64.powi(53);
        assert!(expected.numbers.iter().all(|&x| exact(x)), "{}", case.name);
        // Replies are a mebibyte at most.
        assert!(expected.numbers.len() * 24 < 1 << 20, "{}", case.name);
        let floats = serde_json::to_value(&program).unwrap();
        let floats = floats.as_object().unwrap().values();
        let floats = floats.filter_map(|input| input.pointer("/numbers/float")?.as_array());
        for number in floats
            .flatten()
            .map(|number| number.as_f64().unwrap() as f32)
        {
            assert_eq!(element.round(number), number, "{} {element}", case.name);
        }
    }
}

#[test]
fn the_right_numbers_rounded_once_are_within_every_limit() {
    for (case, element, program) in all() {
        let expected = program.expected(element).unwrap();
        // Places are integers in any case.
        let of = match program {
            Program::Argmax { .. } => ElementType::I64,
            _ => element,
        };
        let got = rounded(of, &expected.shape, &expected.numbers);
        let furthest = expected.compare(&got).unwrap();
        assert!(
            furthest.is_within(),
            "{} {element}: {furthest:?}",
            case.name
        );
    }
}

/// What is off, if anything, when `wrong` is done in the place of `case`.
fn instead(name: &str, element: ElementType, wrong: impl Fn(Program) -> Program) -> Deviation {
    let program = case(name).program(element);
    let expected = program.expected(element).unwrap();
    let done = wrong(program).expected(element).unwrap();
    let got = rounded(element, &expected.shape, &done.numbers);
    expected.compare(&got).unwrap()
}

#[test]
fn other_operations_are_seen_to_be_wrong_in_every_dtype() {
    let unmasked = |program| match program {
        Program::Attention {
            queries,
            keys,
            values,
            scale,
            ..
        } => Program::Attention {
            queries,
            keys,
            values,
            scale,
            causal: false,
            mask: None,
        },
        other => other,
    };
    // Heads of keys and values in another order: as if they took turns.
    let turned = |program| match program {
        Program::Attention {
            queries,
            mut keys,
            mut values,
            scale,
            causal,
            mask,
        } => {
            for tensor in [&mut keys, &mut values] {
                let (half, Numbers::Float(numbers)) = (tensor.len() / 2, &mut tensor.numbers)
                else {
                    panic!("integers");
                };
                numbers.rotate_left(half);
            }
            Program::Attention {
                queries,
                keys,
                values,
                scale,
                causal,
                mask,
            }
        }
        other => other,
    };
    let later = |program| match program {
        Program::Rope { x, start, theta } => Program::Rope {
            x,
            start: start + 1,
            theta,
        },
        other => other,
    };
    let short = |program| match program {
        Program::Product { mut x, weight } => {
            let Numbers::Float(numbers) = &mut x.numbers else {
                panic!("integers");
            };
            for row in numbers.chunks_mut(36_864) {
                row[32_768..].fill(0.0);
            }
            Program::Product { x, weight }
        }
        other => other,
    };
    let next = |program| match program {
        Program::Embedding { table, ids } => {
            let ids = ids.as_ints().unwrap().iter().map(|id| (id + 1) % 100);
            let ids = ids.collect::<Vec<_>>();
            Program::Embedding {
                table,
                ids: Tensor::ints([ids.len()], ids),
            }
        }
        other => other,
    };
    let fewer_bits = |program| match program {
        Program::QuantisedProduct { x, weight, .. } => {
            // Neighbours in the wrong order: as many bytes.
            let Numbers::Float(mut numbers) = weight.numbers else {
                panic!("integers");
            };
            numbers.chunks_mut(2).for_each(<[f32]>::reverse);
            Program::QuantisedProduct {
                x,
                weight: Tensor::floats(weight.shape, numbers),
                scheme: Scheme::Q4,
            }
        }
        other => other,
    };
    for element in ElementType::FLOATS {
        for wrong in [
            instead("attention-causal", element, unmasked),
            instead("attention-causal-gqa", element, unmasked),
            instead("attention-mask", element, unmasked),
            instead("attention-gqa", element, turned),
            instead("rope", element, later),
            instead("product-36864-columns", element, short),
            instead("embedding", element, next),
            instead("product-4-bit", element, fewer_bits),
        ] {
            assert!(!wrong.is_within(), "{element}: {wrong:?}");
        }
    }
}

#[test]
fn integers_that_were_cut_to_32_bits_or_went_through_f32_are_wrong() {
    for name in ["cumsum", "min", "max", "sort", "gather", "index-copy"] {
        let program = case(name).program(ElementType::I64);
        let expected = program.expected(ElementType::I64).unwrap();
        let cut = expected.numbers.iter().map(|&x| i64::from(x as i64 as i32));
        let through_f32 = expected.numbers.iter().map(|&x| x as f32 as i64);
        for got in [cut.collect::<Vec<_>>(), through_f32.collect()] {
            let got = Tensor::ints(expected.shape.clone(), got);
            assert!(!expected.compare(&got).unwrap().is_within(), "{name}");
        }
    }
    let Program::Argmax { x } = case("argmax").program(ElementType::I64) else {
        panic!("another operation");
    };
    let single = x.as_ints().unwrap().iter().map(|&x| x as f32).collect();
    let found = Program::Argmax {
        x: Tensor::floats(x.shape.clone(), single),
    };
    let [right, found] = [Program::Argmax { x }, found].map(|p| p.expected(ElementType::I64));
    assert_ne!(right.unwrap().numbers, found.unwrap().numbers);
}

#[test]
fn running_sums_are_exact_in_bf16_in_any_order() {
    let Program::Cumsum { x } = case("cumsum").program(ElementType::Bf16) else {
        panic!("another operation");
    };
    for row in x.to_f64().chunks(x.columns()) {
        let sums = row.iter().scan(0.0, |sum, x| {
            *sum += x;
            Some(*sum)
        });
        assert!(sums.into_iter().all(|sum: f64| sum.abs() <= 60.0));
    }
}

#[test]
fn what_is_no_number_is_wrong_and_told_before_all_else() {
    let expected = case("gelu-tanh")
        .program(ElementType::F32)
        .expected(ElementType::F32)
        .unwrap();
    let mut got: Vec<f32> = expected.numbers.iter().map(|&x| x as f32).collect();
    got[3] += 100.0;
    got[200] = f32::NAN;
    let furthest = expected
        .compare(&Tensor::floats(expected.shape.clone(), got))
        .unwrap();
    assert_eq!(
        (furthest.at.as_slice(), furthest.got),
        ([200].as_slice(), None)
    );
    assert!(!furthest.is_within());
}

#[test]
fn another_shape_is_told() {
    let expected = case("sort")
        .program(ElementType::F32)
        .expected(ElementType::F32)
        .unwrap();
    let flat = Tensor::floats([900], vec![0.0; 900]);
    let message = expected.compare(&flat).unwrap_err();
    assert!(
        message.contains("[900]") && message.contains("[3, 300]"),
        "{message}"
    );
}

#[test]
fn numbers_that_are_not_finite_are_null_on_the_wire() {
    let tensor = Tensor::floats([3], vec![1.5, f32::NAN, f32::INFINITY]);
    let wire = serde_json::to_string(&tensor).unwrap();
    assert_eq!(wire, r#"{"shape":[3],"numbers":{"float":[1.5,null,null]}}"#);
    let read: Tensor = serde_json::from_str(&wire).unwrap();
    let read = read.to_f64();
    assert!(read[0] == 1.5 && read[1].is_nan() && read[2].is_nan());
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let x = || Tensor::floats([2, 3], vec![0.0; 6]);
    let heads = |heads| Tensor::floats([1, heads, 1, 2], vec![0.0; 2 * heads]);
    let attention = |kv_heads| Program::Attention {
        queries: heads(4),
        keys: heads(kv_heads),
        values: heads(kv_heads),
        scale: 1.0,
        causal: false,
        mask: None,
    };
    attention(2).check().unwrap();
    for wrong in [
        Program::Cumsum {
            x: Tensor::floats([2, 3], vec![0.0; 5]),
        },
        Program::Cumsum {
            x: Tensor::floats([usize::MAX, 3], vec![0.0; 3]),
        },
        Program::Cumsum {
            x: Tensor::floats([0, 3], vec![]),
        },
        Program::TopK { x: x(), k: 4 },
        Program::Gather {
            x: x(),
            index: Tensor::ints([2, 1], vec![0, 3]),
        },
        Program::Gather {
            x: x(),
            index: Tensor::ints([2, 1], vec![0, -1]),
        },
        Program::Embedding {
            table: x(),
            ids: Tensor::floats([1], vec![0.0]),
        },
        Program::SliceUpdate {
            x: x(),
            source: x(),
            start: usize::MAX,
        },
        Program::Product {
            x: x(),
            weight: Tensor::floats([3, 2], vec![0.0; 6]),
        },
        attention(3),
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
        assert!(wrong.expected(ElementType::F32).is_err(), "{wrong:?}");
    }
}
