//! The rows of the matrix: what Gemma and the choice of its tokens need, and what is known to have been wrong or
//! missing somewhere. All inputs follow from a seed: the same everywhere.

use super::program::Program;
use super::tensor::{ElementType, Numbers, Tensor};
use crate::{Scheme, numbers};

/// A row of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name in tables and files.
    pub name: &'static str,
    /// What it tries.
    pub about: &'static str,
    /// The dtypes in which there is such a thing.
    pub elements: &'static [ElementType],
    make: fn(ElementType) -> Program,
}

impl Case {
    /// All of them, in the order of the table.
    pub fn all() -> &'static [Self] {
        &CASES
    }

    /// The program in `element`.
    pub fn program(&self, element: ElementType) -> Program {
        (self.make)(element)
    }
}

const ALL: &[ElementType] = &ElementType::ALL;
const FLOATS: &[ElementType] = &ElementType::FLOATS;

/// Beyond 32 bits, and exact in f64.
const BEYOND: i64 = 1 << 41;

const CASES: [Case; 32] = [
    Case {
        name: "cumsum",
        about: "running sums of 1,000 numbers; in i64 beyond 32 bits",
        elements: ALL,
        make: cumsum,
    },
    Case {
        name: "min",
        about: "the smallest of 5,000 numbers; in i64 beyond 32 bits",
        elements: ALL,
        make: |element| Program::Min {
            x: with_extremes(element),
        },
    },
    Case {
        name: "max",
        about: "the largest of 5,000 numbers; in i64 beyond 32 bits",
        elements: ALL,
        make: |element| Program::Max {
            x: with_extremes(element),
        },
    },
    Case {
        name: "argmax",
        about: "where the largest of 5,000 numbers is; in i64 by a last bit that f32 lacks",
        elements: ALL,
        make: |element| Program::Argmax {
            x: with_extremes(element),
        },
    },
    Case {
        name: "argmax-ties",
        about: "the first of several largest numbers, as greedy choices of tokens agree on",
        elements: ALL,
        make: |element| Program::Argmax { x: ties(element) },
    },
    Case {
        name: "argmax-262144-columns",
        about: "the last of 262,144 numbers, as many as Gemma 3 has tokens",
        elements: ALL,
        make: |element| Program::Argmax {
            x: vocabulary(element),
        },
    },
    Case {
        name: "sort",
        about: "300 numbers in ascending order",
        elements: ALL,
        make: |element| Program::Sort {
            x: values(element, [3, 300], 1),
        },
    },
    Case {
        name: "top-k",
        about: "the 40 largest of 5,000 numbers, in order",
        elements: ALL,
        make: |element| Program::TopK {
            x: values(element, [2, 5000], 2),
            k: 40,
        },
    },
    Case {
        name: "gather",
        about: "numbers of a row by their places",
        elements: ALL,
        make: |element| Program::Gather {
            x: values(element, [3, 500], 3),
            index: indices([3, 20], 500, 4),
        },
    },
    Case {
        name: "index-copy",
        about: "rows put at places that come from the device, as a KV cache's",
        elements: ALL,
        make: |element| Program::IndexCopy {
            x: values(element, [40, 64], 5),
            index: Tensor::ints([5], vec![31, 0, 7, 39, 12]),
            source: values(element, [5, 64], 6),
        },
    },
    Case {
        name: "scatter-add",
        about: "numbers added at places, several at the same",
        elements: ALL,
        make: |element| Program::ScatterAdd {
            x: small(element, &[3, 50], 7),
            index: indices([3, 200], 50, 8),
            source: small(element, &[3, 200], 9),
        },
    },
    Case {
        name: "slice-update",
        about: "rows put in the middle of a buffer, as a KV cache's",
        elements: ALL,
        make: |element| Program::SliceUpdate {
            x: values(element, [40, 64], 10),
            source: values(element, [3, 64], 11),
            start: 7,
        },
    },
    Case {
        name: "embedding",
        about: "rows of a table by token ids",
        elements: FLOATS,
        make: |element| Program::Embedding {
            table: values(element, [100, 64], 12),
            ids: Tensor::ints([6], vec![99, 0, 17, 17, 3, 98]),
        },
    },
    Case {
        name: "softmax",
        about: "rows of 64 scores, one of them around 20,000",
        elements: FLOATS,
        make: softmax,
    },
    Case {
        name: "gelu-tanh",
        about: "GELU in its tanh form from -30,000 to 30,000: the cube leaves 16 bits",
        elements: FLOATS,
        make: |element| Program::Gelu { x: wide(element) },
    },
    Case {
        name: "soft-cap",
        about: "30 tanh(x / 30) from -30,000 to 30,000, as Gemma 2's logits",
        elements: FLOATS,
        make: |element| Program::SoftCap {
            x: wide(element),
            cap: 30.0,
        },
    },
    Case {
        name: "rms-norm",
        about: "RMSNorm of numbers up to 500, whose squares leave f16",
        elements: FLOATS,
        make: |element| Program::RmsNorm {
            x: random(element, &[5, 640], 13, 500.0),
            weight: random(element, &[640], 14, 2.0),
            eps: 1e-6,
        },
    },
    Case {
        name: "rms-norm-small",
        about: "RMSNorm of numbers around 0.001, whose squares are below eps and below f16",
        elements: FLOATS,
        make: |element| Program::RmsNorm {
            x: around_a_thousandth(element, &[5, 640]),
            weight: random(element, &[640], 14, 2.0),
            eps: 1e-6,
        },
    },
    Case {
        name: "rope",
        about: "the rotation of tokens from position 1,000 on",
        elements: FLOATS,
        make: |element| Program::Rope {
            x: random(element, &[1, 2, 5, 256], 15, 1.0),
            start: 1000,
            theta: 10_000.0,
        },
    },
    Case {
        name: "product",
        about: "17 rows times the transpose of 40, 256 columns",
        elements: FLOATS,
        make: |element| product(element, &[17, 256], &[40, 256]),
    },
    Case {
        name: "product-one-row",
        about: "one row, as a decode step's",
        elements: FLOATS,
        make: |element| product(element, &[1, 256], &[40, 256]),
    },
    Case {
        name: "product-36864-columns",
        about: "36,864 columns, as Gemma 2 27B's down projection: reported wrong on MPS beyond 32,768",
        elements: FLOATS,
        make: |element| product(element, &[2, 36_864], &[3, 36_864]),
    },
    Case {
        name: "product-batched",
        about: "four products at once, as the heads of an attention",
        elements: FLOATS,
        make: |element| product(element, &[4, 17, 64], &[4, 40, 64]),
    },
    Case {
        name: "product-8-bit",
        about: "a product with weights as codes of 8 bits",
        elements: FLOATS,
        make: |element| quantised(element, Scheme::Q8),
    },
    Case {
        name: "product-4-bit",
        about: "a product with weights as codes of 4 bits",
        elements: FLOATS,
        make: |element| quantised(element, Scheme::Q4),
    },
    Case {
        name: "attention",
        about: "fused attention without a mask, heads of 256",
        elements: FLOATS,
        make: |element| attention(element, [4, 4], [17, 17], Sees::All),
    },
    Case {
        name: "attention-causal",
        about: "fused attention with its causal flag",
        elements: FLOATS,
        make: |element| attention(element, [4, 4], [17, 17], Sees::Causal),
    },
    Case {
        name: "attention-gqa",
        about: "fused attention of four heads on two of keys and values",
        elements: FLOATS,
        make: |element| attention(element, [4, 2], [17, 17], Sees::All),
    },
    Case {
        name: "attention-causal-gqa",
        about: "the causal flag with four heads on two",
        elements: FLOATS,
        make: |element| attention(element, [4, 2], [17, 17], Sees::Causal),
    },
    Case {
        name: "attention-decode",
        about: "fused attention of one token on 40 entries, without GQA",
        elements: FLOATS,
        make: |element| attention(element, [4, 4], [1, 40], Sees::All),
    },
    Case {
        name: "attention-decode-gqa",
        about: "one token on 40 entries, four heads on one",
        elements: FLOATS,
        make: |element| attention(element, [4, 1], [1, 40], Sees::All),
    },
    Case {
        name: "attention-mask",
        about: "fused attention with a mask: a window of 8, five tokens on 40 entries, GQA",
        elements: FLOATS,
        make: |element| attention(element, [4, 2], [5, 40], Sees::Window(8)),
    },
];

/// Exact numbers of a shape, in i64 beyond 32 bits, else from -1 to 1.
fn values(element: ElementType, shape: [usize; 2], seed: u64) -> Tensor {
    match element {
        ElementType::I64 => {
            let count = shape.iter().product();
            // f32 has no odd numbers of that size.
            let spread = |x: f32| (f64::from(x) * BEYOND as f64) as i64 | 1;
            Tensor::ints(shape, numbers(seed).take(count).map(spread).collect())
        }
        _ => random(element, &shape, seed, 1.0),
    }
}

/// Numbers from `-most` to `most`, rounded to the dtype.
fn random(element: ElementType, shape: &[usize], seed: u64, most: f32) -> Tensor {
    let count = shape.iter().product();
    let rounded = numbers(seed).map(|x| element.round(most * x));
    Tensor::floats(shape, rounded.take(count).collect())
}

/// Whole numbers from -3 to 3, in i64 times something beyond 32 bits.
fn small(element: ElementType, shape: &[usize], seed: u64) -> Tensor {
    whole(element, shape, steps(shape.iter().product(), seed))
}

/// Whole numbers from -3 to 3.
fn steps(count: usize, seed: u64) -> Vec<i64> {
    let steps = numbers(seed).take(count).map(|x| (x * 3.5) as i64);
    steps.collect()
}

fn whole(element: ElementType, shape: &[usize], steps: Vec<i64>) -> Tensor {
    match element {
        ElementType::I64 => {
            let long = steps.into_iter().map(|step| step * (BEYOND >> 8) + 1);
            Tensor::ints(shape, long.collect())
        }
        _ => Tensor::floats(shape, steps.into_iter().map(|step| step as f32).collect()),
    }
}

fn indices(shape: [usize; 2], end: usize, seed: u64) -> Tensor {
    let count = shape.iter().product();
    let index = |x: f32| ((f64::from(x) + 1.0) / 2.0 * end as f64) as i64;
    Tensor::ints(shape, numbers(seed).take(count).map(index).collect())
}

/// Steps that lead back to 0 from 60 on: the sums of all stretches are exact in bf16, in whatever order they are
/// added.
fn cumsum(element: ElementType) -> Program {
    let shape = [3, 1000];
    let mut sum: i64 = 0;
    let steps = numbers(16).take(shape[0] * shape[1]).enumerate();
    let steps = steps.map(|(at, x)| {
        if at % shape[1] == 0 {
            sum = 0;
        }
        let step = 1 + (x.abs() * 3.0) as i64;
        let up = if sum.abs() >= 57 { sum < 0 } else { x > 0.0 };
        let step = if up { step } else { -step };
        sum += step;
        step
    });
    Program::Cumsum {
        x: whole(element, &shape, steps.collect()),
    }
}

/// Rows of 5,000 with one smallest and one largest number behind their middle.
fn with_extremes(element: ElementType) -> Tensor {
    let (columns, places) = (5000, [4321, 2750, 4999]);
    match element {
        ElementType::I64 => {
            let mut x = vec![0; 3 * columns];
            let shorter = numbers(17).map(|x| (f64::from(x) * BEYOND as f64 / 2.0) as i64);
            for (number, random) in x.iter_mut().zip(shorter) {
                *number = random;
            }
            for (row, at) in x.chunks_mut(columns).zip(places) {
                // In f32 the first of two would be as large, and as small.
                (row[at - 100], row[at]) = (BEYOND, BEYOND + 1);
                (row[at - 300], row[at - 200]) = (-BEYOND, -BEYOND - 1);
            }
            Tensor::ints([3, columns], x)
        }
        _ => {
            let mut x: Vec<f32> = numbers(17)
                .map(|x| element.round(x))
                .take(3 * columns)
                .collect();
            for (row, at) in x.chunks_mut(columns).zip(places) {
                (row[at], row[at - 200]) = (1.5, -1.5);
            }
            Tensor::floats([3, columns], x)
        }
    }
}

/// Rows of 5,000 whose largest number is there several times, far apart and beside one another.
fn ties(element: ElementType) -> Tensor {
    let places: [&[usize]; 3] = [&[4321, 4322, 4999], &[31, 32, 2750], &[1023, 1024, 4096]];
    let mut steps = steps(places.len() * 5000, 26);
    for (row, places) in steps.chunks_mut(5000).zip(places) {
        for &at in places {
            row[at] = 4;
        }
    }
    whole(element, &[places.len(), 5000], steps)
}

/// A row of 262,144 with its largest number at the end: a place that bf16, f16 and 16 bits don't have.
fn vocabulary(element: ElementType) -> Tensor {
    let count = 1 << 18;
    let mut steps = steps(count, 27);
    steps[count - 1] = 4;
    whole(element, &[1, count], steps)
}

/// Magnitudes from 0.0005 to 0.0015: none so small that a device may take it for 0.
fn around_a_thousandth(element: ElementType, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let spread = |x: f32| element.round(1e-3 * (x + 0.5_f32.copysign(x)));
    Tensor::floats(shape, numbers(28).map(spread).take(count).collect())
}

fn softmax(element: ElementType) -> Program {
    let scores = numbers(18).take(5 * 64).enumerate();
    let scores =
        scores.map(|(at, x)| element.round(if at < 64 { 20_000.0 } else { 0.0 } + 8.0 * x));
    Program::Softmax {
        x: Tensor::floats([5, 64], scores.collect()),
    }
}

/// From -30,000 to 30,000, close together around 0.
fn wide(element: ElementType) -> Tensor {
    let steps = -120..=120;
    let near = steps.map(|step| 0.05 * step as f32);
    let far = [20.0, 44.0, 100.0, 300.0, 1000.0, 30_000.0];
    let far = far.into_iter().flat_map(|x: f32| [x, -x]);
    let all: Vec<f32> = near.chain(far).map(|x| element.round(x)).collect();
    Tensor::floats([all.len()], all)
}

/// Sixteenths, which every dtype holds: many of them are short in JSON.
fn sixteenths(shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product();
    let rounded = numbers(seed).map(|x| (x * 16.0).round() / 16.0);
    Tensor::floats(shape, rounded.take(count).collect())
}

/// In f32 with all 24 bits: factors that a kernel rounds to TF32 or bf16 show.
fn product(element: ElementType, x: &[usize], weight: &[usize]) -> Program {
    Program::Product {
        x: random(element, x, 19, 1.0),
        weight: random(element, weight, 20, 1.0),
    }
}

/// Columns of whole blocks, and rows of whole tiles, in all frameworks.
fn quantised(_: ElementType, scheme: Scheme) -> Program {
    Program::QuantisedProduct {
        x: of_8_bits(&[5, 256], 21),
        weight: sixteenths(&[128, 256], 22),
        scheme,
    }
}

/// From -127/128 to 127/128 in steps of 1/128, the largest in each block of 32: kernels for codes may round the other
/// factor to 8 bits with a scale for each 32 (llama.cpp's and candle's on the CPU), by which these stay what they are.
fn of_8_bits(shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product();
    let steps = numbers(seed).take(count).enumerate();
    let steps = steps.map(|(at, x)| match at % 32 {
        0 => 127_f32.copysign(x),
        _ => (127.0 * x).round(),
    });
    Tensor::floats(shape, steps.map(|step| step / 128.0).collect())
}

fn rows_mut(x: &mut Tensor) -> impl Iterator<Item = &mut [f32]> {
    let columns = x.columns();
    match &mut x.numbers {
        Numbers::Float(numbers) => numbers.chunks_mut(columns),
        Numbers::Int(_) => <&mut [f32]>::default().chunks_mut(columns),
    }
}

/// What the queries see.
enum Sees {
    All,
    /// By the causal flag.
    Causal,
    /// The last so many entries up to their own, by a mask.
    Window(usize),
}

fn attention(
    element: ElementType,
    [heads, kv_heads]: [usize; 2],
    [tokens, entries]: [usize; 2],
    sees: Sees,
) -> Program {
    let head_dim = 256;
    let shape = [1, kv_heads, entries, head_dim];
    let mask = |window: usize| {
        let places = (0..tokens).flat_map(|token| (0..entries).map(move |entry| (token, entry)));
        let seen = places.map(|(token, entry)| {
            let own = entries - tokens + token;
            i64::from(entry <= own && entry + window > own)
        });
        Tensor::ints([tokens, entries], seen.collect())
    };
    let mut queries = random(element, &[1, heads, tokens, head_dim], 23, 8.0);
    let mut keys = random(element, &shape, 24, 1.0);
    let mut values = random(element, &shape, 25, 1.0);
    // A kernel that loses an entry loses the first or the last. So that it shows, all queries point some way to those
    // keys, and their values are large.
    for query in rows_mut(&mut queries) {
        query[..32].iter_mut().for_each(|x| *x = x.abs());
    }
    let is_end = |row: usize| row.is_multiple_of(entries) || row % entries == entries - 1;
    let rows = rows_mut(&mut keys).zip(rows_mut(&mut values)).enumerate();
    for (_, (key, value)) in rows.filter(|(row, _)| is_end(*row)) {
        key[..32].iter_mut().for_each(|x| *x = x.abs());
        value.iter_mut().for_each(|x| *x *= 4.0);
    }
    Program::Attention {
        queries,
        keys,
        values,
        // Half of what is taken where none is given, 1 / sqrt(head_dim): scores have a standard deviation of 1.3.
        scale: 0.03,
        causal: matches!(sees, Sees::Causal),
        mask: match sees {
            Sees::Window(window) => Some(mask(window)),
            Sees::All | Sees::Causal => None,
        },
    }
}
