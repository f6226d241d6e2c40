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
    // As if no scale had been given.
    let by_default = |program| match program {
        Program::Attention {
            queries,
            keys,
            values,
            causal,
            mask,
            ..
        } => Program::Attention {
            scale: 1.0 / 16.0,
            queries,
            keys,
            values,
            causal,
            mask,
        },
        other => other,
    };
    let no_eps = |program| match program {
        Program::RmsNorm { x, weight, .. } => Program::RmsNorm {
            x,
            weight,
            eps: 0.0,
        },
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
    let of_4_bits = |program| match program {
        Program::QuantisedProduct { x, weight, .. } => Program::QuantisedProduct {
            x,
            weight,
            scheme: Scheme::Q4,
        },
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
            instead("product-8-bit", element, of_4_bits),
            instead("rms-norm-small", element, no_eps),
        ] {
            assert!(!wrong.is_within(), "{element}: {wrong:?}");
        }
        for name in attentions() {
            let wrong = instead(name, element, by_default);
            assert!(!wrong.is_within(), "{name} {element}: {wrong:?}");
            for last in [false, true] {
                let wrong = instead(name, element, |program| without_entry(program, last));
                assert!(!wrong.is_within(), "{name} {element} {last}: {wrong:?}");
            }
        }
    }
}

fn attentions() -> impl Iterator<Item = &'static str> {
    let names = Case::all().iter().map(|case| case.name);
    names.filter(|name| name.starts_with("attention"))
}

/// An attention that doesn't see its last entry, or its first, where it sees another.
fn without_entry(program: Program, last: bool) -> Program {
    let Program::Attention {
        queries,
        keys,
        values,
        scale,
        causal,
        mask,
    } = program
    else {
        panic!("another operation");
    };
    let (tokens, entries) = (queries.shape[2], keys.shape[2]);
    let seen = |token: usize, entry: usize| match &mask {
        Some(mask) => mask.as_ints().unwrap()[token * entries + entry] != 0,
        None => !causal || entry <= token,
    };
    let rows = (0..tokens).flat_map(|token| {
        let row: Vec<usize> = (0..entries).filter(|&entry| seen(token, entry)).collect();
        let lost = if last { row[row.len() - 1] } else { row[0] };
        let sees = move |entry| row.contains(&entry) && (row.len() == 1 || entry != lost);
        (0..entries).map(move |entry| i64::from(sees(entry)))
    });
    let mask = Tensor::ints([tokens, entries], rows.collect());
    Program::Attention {
        queries,
        keys,
        values,
        scale,
        causal: false,
        mask: Some(mask),
    }
}

/// With the 10 bits behind the leading one that TF32 has.
fn in_tf32(tensor: Tensor) -> Tensor {
    let numbers = tensor.as_floats().unwrap().iter();
    let rounded = numbers.map(|x| f32::from_bits((x.to_bits() + 0x1000) & !0x1fff));
    Tensor::floats(tensor.shape.clone(), rounded.collect())
}

#[test]
fn factors_of_tf32_are_wrong_in_f32() {
    let rounded = |program| match program {
        Program::Product { x, weight } => Program::Product {
            x: in_tf32(x),
            weight: in_tf32(weight),
        },
        Program::Attention {
            queries,
            keys,
            values,
            scale,
            causal,
            mask,
        } => Program::Attention {
            queries: in_tf32(queries),
            keys: in_tf32(keys),
            values: in_tf32(values),
            scale,
            causal,
            mask,
        },
        other => other,
    };
    let products = [
        "product",
        "product-one-row",
        "product-36864-columns",
        "product-batched",
    ];
    for name in products.into_iter().chain(attentions()) {
        let wrong = instead(name, ElementType::F32, rounded);
        assert!(!wrong.is_within(), "{name}: {wrong:?}");
    }
}

/// As llama.cpp rounds them: to the nearest of 127 steps of the largest of 32, on either side.
#[test]
fn factors_of_codes_are_exact_in_8_bits() {
    for name in ["product-8-bit", "product-4-bit"] {
        let Program::QuantisedProduct { x, .. } = case(name).program(ElementType::F32) else {
            panic!("another operation");
        };
        for block in x.as_floats().unwrap().chunks(32) {
            let step = block.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
            assert!(
                block.iter().all(|x| (x / step).round() * step == *x),
                "{name}"
            );
        }
    }
}

#[test]
fn the_first_of_several_largest_numbers_is_right() {
    for element in ElementType::ALL {
        let program = case("argmax-ties").program(element);
        let expected = program.expected(element).unwrap();
        assert_eq!(expected.numbers, [4321.0, 31.0, 1023.0], "{element}");
        let later = Tensor::ints([3], vec![4322, 31, 1023]);
        assert!(!expected.compare(&later).unwrap().is_within(), "{element}");
        let wide = case("argmax-262144-columns").program(element);
        let expected = wide.expected(element).unwrap();
        assert_eq!(expected.numbers, [262_143.0], "{element}");
    }
}

/// Limits of what GPUs promise of a tanh: some steps of f32.
#[test]
fn a_tanh_that_is_some_steps_off_is_right_in_f32() {
    let off = 8.0 / f64::from(1 << 24);
    for name in ["gelu-tanh", "soft-cap"] {
        let program = case(name).program(ElementType::F32);
        let expected = program.expected(ElementType::F32).unwrap();
        let (Program::Gelu { x } | Program::SoftCap { x, .. }) = &program else {
            panic!("another operation");
        };
        for sign in [-1.0, 1.0] {
            let got = expected.numbers.iter().zip(x.to_f64());
            let got = got.map(|(y, x)| match &program {
                // Where the tanh is 1, its last steps are what is left of the sum.
                Program::Gelu { .. } if x < -5.42 => sign * 0.5 * x * 2.0 * f64::from(f32::EPSILON),
                Program::Gelu { .. } => y + sign * 0.5 * x * off,
                _ => y * (1.0 + sign * off),
            });
            let got: Vec<f64> = got.collect();
            let got = rounded(ElementType::F32, &expected.shape, &got);
            let furthest = expected.compare(&got).unwrap();
            assert!(furthest.is_within(), "{name}: {furthest:?}");
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

/// A file with a backend and a device of these cells.
fn file(cells: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "ops_schema_version": MATRIX_SCHEMA,
        "started": "2026-11-26T12:00:00Z",
        "mlxbench": {"version": "0.1.0", "profile": "release"},
        "machine": {
            "os": "a system", "arch": "aarch64", "cpu": "a CPU", "logical_cores": 8, "memory_bytes": 1024,
        },
        "backends": [{"backend": "tch", "devices": [{"device": "cpu", "cells": cells}]}],
    })
}

#[test]
fn files_with_more_than_tables_can_show_are_refused() {
    use serde_json::{Value, json};

    let cell = |op: &str| json!({"op": op, "dtype": "f32", "outcome": {"status": "unknown"}});
    let read = |file: &Value| Matrix::from_json(&file.to_string());
    let of = |cells: Vec<Value>| file(Value::Array(cells));
    read(&of(vec![cell("sort"), cell(&"x".repeat(64))])).unwrap();
    let many = |count: usize| (0..count).map(|at| cell(&format!("op-{at}"))).collect();
    read(&of(many(256))).unwrap();
    let mut devices = of(vec![]);
    let device = devices["backends"][0]["devices"][0].clone();
    devices["backends"][0]["devices"] = Value::Array(vec![device; 65]);
    let mut backends = of(vec![]);
    let backend = backends["backends"][0].clone();
    backends["backends"] = Value::Array(vec![backend; 65]);
    for (file, says) in [
        (of(vec![cell(&"x".repeat(65))]), "an operation's name"),
        (of(vec![cell("")]), "an operation's name"),
        (of(vec![cell("so\u{202e}rt")]), "an operation's name"),
        (of(many(257)), "operations"),
        (
            of(vec![cell("sort"), cell("sort")]),
            "has `sort` in f32 twice",
        ),
        (devices, "devices"),
        (backends, "backends"),
    ] {
        let message = read(&file).unwrap_err();
        assert!(message.contains(says), "{message}");
    }
}
