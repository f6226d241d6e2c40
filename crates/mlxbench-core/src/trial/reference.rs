//! What a program should give: plain Rust in f64 on inputs that are exact in the dtype, and how far what comes out
//! in that dtype may be from it.
//!
//! Selections, and sums of integers that are small enough to be exact in every dtype, have a limit of 0. For the
//! others a limit is [`ROUNDINGS`] roundings of the dtype (`u`, half the distance from 1 to the next number) of what
//! is rounded on the way. Sums of `k` products are taken to be added in f32: their errors, of either sign, grow
//! as `sqrt(k)` (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019), in proportion
//! to the root of the sum of the products' squares, the size of what is summed up on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::program::Program;
use super::tensor::{ElementType, Tensor};
use crate::quantise::Codes;
use crate::{Error, Result};

/// Roundings on the way through one operation, at most: of its steps and its result.
const ROUNDINGS: f64 = 4.0;
/// Of f32, in which sums are added up.
const U32: f64 = 1.0 / (1 << 24) as f64;
/// How far GPUs' functions may be from a tanh in f32, as a share of it: Metal's and CUDA's fast ones are off by some
/// steps where a CPU's is by one.
const TANH: f64 = 10.0 * U32;
/// Two steps of f32 from 1 on.
const STEPS_OF_ONE: f64 = 4.0 * U32;
/// From here on the tanh is 1 in f32.
const SATURATED: f64 = 10.0;

/// What should come out.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, in row-major order.
    pub numbers: Vec<f64>,
    /// How far each may be off.
    pub limits: Vec<f64>,
}

/// The number that is furthest from what it should be, measured by its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deviation {
    /// Where it is: an index for each axis.
    pub at: Vec<usize>,
    /// What came out; absent when it isn't finite.
    pub got: Option<f64>,
    /// What should have come out.
    pub expected: f64,
    /// How far it may be off.
    pub limit: f64,
}

impl Deviation {
    /// How far it is off; `None` when it isn't finite.
    pub fn error(&self) -> Option<f64> {
        self.got.map(|got| (got - self.expected).abs())
    }

    /// Whether it is near enough.
    pub fn is_within(&self) -> bool {
        self.error().is_some_and(|error| error <= self.limit)
    }
}

impl Expected {
    fn exact(shape: impl Into<Vec<usize>>, numbers: Vec<f64>) -> Self {
        Self {
            shape: shape.into(),
            limits: vec![0.0; numbers.len()],
            numbers,
        }
    }

    /// Numbers with their limits; what is below the dtype's smallest normal number may be lost.
    fn near(
        element: ElementType,
        shape: &[usize],
        both: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let (numbers, mut limits): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        for limit in &mut limits {
            *limit += element.smallest_normal();
        }
        Self {
            shape: shape.into(),
            numbers,
            limits,
        }
    }

    /// The number of `got` that is furthest off, in limits.
    ///
    /// # Errors
    /// When `got` is of another shape: which.
    pub fn compare(&self, got: &Tensor) -> Result<Deviation, String> {
        if got.shape != self.shape || got.len() != self.numbers.len() {
            return Err(format!(
                "what came out is of shape {:?} and has {} numbers, where the shape should be {:?}",
                got.shape,
                got.len(),
                self.shape
            ));
        }
        let off = |(at, &got): (usize, &f64)| {
            let (expected, limit) = (self.numbers[at], self.limits[at]);
            let error = (got - expected).abs();
            // Nothing is further off than what is no number, and where nothing may be off, all that is.
            let weight = match error.is_nan() {
                true => f64::INFINITY,
                false if error == 0.0 => 0.0,
                false => error / limit,
            };
            (weight, at)
        };
        let got = got.to_f64();
        let all = got.iter().enumerate().map(off);
        let (_, at) = all
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
            .ok_or("nothing came out")?;
        Ok(Deviation {
            at: self.index(at),
            got: Some(got[at]).filter(|got| got.is_finite()),
            expected: self.numbers[at],
            limit: self.limits[at],
        })
    }

    fn index(&self, mut at: usize) -> Vec<usize> {
        let mut index: Vec<usize> = Vec::new();
        for &axis in self.shape.iter().rev() {
            index.push(at % axis);
            at /= axis;
        }
        index.reverse();
        index
    }
}

impl Program {
    /// What should come out in `element`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the inputs don't fit one another.
    pub fn expected(&self, element: ElementType) -> Result<Expected> {
        self.check()?;
        let u = ROUNDINGS * element.unit_roundoff();
        Ok(match self {
            Self::Cumsum { x } => {
                let sums = by_row(x).flat_map(|row| {
                    let mut sum = 0.0;
                    row.into_iter().map(move |number| {
                        sum += number;
                        sum
                    })
                });
                Expected::exact(x.shape.clone(), sums.collect())
            }
            Self::Min { x } => of_rows(x, |row| row.into_iter().fold(f64::INFINITY, f64::min)),
            Self::Max { x } => of_rows(x, |row| row.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            Self::Argmax { x } => of_rows(x, |row| largest(&row) as f64),
            Self::Sort { x } => {
                let rows = by_row(x).flat_map(sorted);
                Expected::exact(x.shape.clone(), rows.collect())
            }
            Self::TopK { x, k } => {
                let rows = by_row(x).flat_map(|row| sorted(row).into_iter().rev().take(*k));
                Expected::exact([x.rows(), *k], rows.collect())
            }
            Self::Gather { x, index } => {
                let rows = by_row(x).zip(by_row(index));
                let picked = rows.flat_map(|(row, index)| {
                    let picked = index.into_iter().map(|at| row[at as usize]);
                    picked.collect::<Vec<_>>()
                });
                Expected::exact(index.shape.clone(), picked.collect())
            }
            Self::IndexCopy { x, index, source } => {
                let mut rows: Vec<_> = by_row(x).collect();
                for (&at, row) in index.as_ints()?.iter().zip(by_row(source)) {
                    rows[at as usize] = row;
                }
                Expected::exact(x.shape.clone(), rows.concat())
            }
            Self::ScatterAdd { x, index, source } => {
                let mut rows: Vec<_> = by_row(x).collect();
                let added = by_row(index).zip(by_row(source));
                for (row, (index, source)) in rows.iter_mut().zip(added) {
                    for (at, number) in index.into_iter().zip(source) {
                        row[at as usize] += number;
                    }
                }
                Expected::exact(x.shape.clone(), rows.concat())
            }
            Self::SliceUpdate { x, source, start } => {
                let mut rows: Vec<_> = by_row(x).collect();
                for (row, new) in rows[*start..].iter_mut().zip(by_row(source)) {
                    *row = new;
                }
                Expected::exact(x.shape.clone(), rows.concat())
            }
            Self::Embedding { table, ids } => {
                let rows: Vec<_> = by_row(table).collect();
                let found = ids
                    .as_ints()?
                    .iter()
                    .flat_map(|&id| rows[id as usize].clone());
                Expected::exact([ids.len(), table.columns()], found.collect())
            }
            Self::Product { x, weight } => products(element, x, weight),
            Self::QuantisedProduct { x, weight, scheme } => {
                let codes = Codes::of(*scheme, weight.as_floats()?, weight.columns());
                let dequantised = codes.map_err(Error::Invalid)?.dequantised().collect();
                let dequantised = Tensor::floats(weight.shape.clone(), dequantised);
                products(element, x, &dequantised)
            }
            Self::Softmax { x } => {
                let rows = by_row(x).flat_map(|row| softmax(&row, u));
                Expected::near(element, &x.shape, rows)
            }
            Self::Gelu { x } => {
                let both = x.to_f64().into_iter().map(|x| {
                    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                    let y = 0.5 * x * (1.0 + inner.tanh());
                    // Near -1 the tanh's own error is what is left of the sum; beyond, all of it is lost.
                    let cancelled = match inner.abs() < SATURATED {
                        true => (u + 0.5 * TANH) * x.abs(),
                        false => 0.5 * x.abs() * (1.0 - inner.abs().tanh() + STEPS_OF_ONE),
                    };
                    (y, u * y.abs() + cancelled)
                });
                Expected::near(element, &x.shape, both)
            }
            Self::SoftCap { x, cap } => {
                let cap = f64::from(*cap);
                let capped = x.to_f64().into_iter().map(|x| cap * (x / cap).tanh());
                Expected::near(element, &x.shape, capped.map(|y| (y, (u + TANH) * y.abs())))
            }
            Self::RmsNorm { x, weight, eps } => {
                let weight = weight.to_f64();
                let both = by_row(x).flat_map(|row| {
                    let squares: f64 = row.iter().map(|x| x * x).sum();
                    let factor = (squares / row.len() as f64 + f64::from(*eps))
                        .sqrt()
                        .recip();
                    let normed = row.iter().zip(&weight).map(|(x, w)| x * factor * w);
                    let off = u + of_sums(row.len());
                    normed.map(|y| (y, off * y.abs())).collect::<Vec<_>>()
                });
                Expected::near(element, &x.shape, both)
            }
            Self::Rope { x, start, theta } => {
                let both = rotated(x, *start, f64::from(*theta), u);
                Expected::near(element, &x.shape, both)
            }
            Self::Attention {
                queries,
                keys,
                values,
                scale,
                causal,
                mask,
            } => {
                let seen = |token: usize, entry: usize| match mask {
                    Some(mask) => mask
                        .as_ints()
                        .is_ok_and(|m| m[token * mask.columns() + entry] != 0),
                    None => !causal || entry <= token,
                };
                let both = attention(queries, [keys, values], f64::from(*scale), seen, u);
                Expected::near(element, &queries.shape, both)
            }
        })
    }
}

/// How far a sum of so many terms, added in f32, may be off, as a share of what is summed up on the way.
fn of_sums(terms: usize) -> f64 {
    ROUNDINGS * (terms as f64).sqrt() * U32
}

/// Rows in f64.
fn by_row(x: &Tensor) -> impl Iterator<Item = Vec<f64>> {
    let numbers = x.to_f64();
    let (columns, rows) = (x.columns(), x.rows());
    (0..rows).map(move |row| numbers[row * columns..][..columns].to_vec())
}

fn of_rows(x: &Tensor, of: impl Fn(Vec<f64>) -> f64) -> Expected {
    Expected::exact([x.rows()], by_row(x).map(of).collect())
}

fn largest(row: &[f64]) -> usize {
    let places = row.iter().enumerate();
    places.fold(
        0,
        |best, (at, number)| if *number > row[best] { at } else { best },
    )
}

fn sorted(mut row: Vec<f64>) -> Vec<f64> {
    row.sort_by(f64::total_cmp);
    row
}

/// `x W^T`.
fn products(element: ElementType, x: &Tensor, weight: &Tensor) -> Expected {
    let columns = x.columns();
    let [m, n] = [x, weight].map(|tensor| tensor.shape[tensor.shape.len() - 2]);
    let (xs, ws): (Vec<_>, Vec<_>) = (by_row(x).collect(), by_row(weight).collect());
    let unit = ROUNDINGS * element.unit_roundoff() + of_sums(columns);
    let both = xs.iter().enumerate().flat_map(|(row, x)| {
        let batch = row / m;
        ws[batch * n..][..n].iter().map(move |w| {
            let terms = || x.iter().zip(w).map(|(x, w)| x * w);
            let y: f64 = terms().sum();
            let on_the_way = terms().map(|term| term * term).sum::<f64>().sqrt();
            (y, unit * (y.abs() + on_the_way))
        })
    });
    let shape: Vec<usize> = x
        .shape
        .iter()
        .rev()
        .skip(1)
        .rev()
        .copied()
        .chain([n])
        .collect();
    Expected::near(element, &shape, both)
}

/// The softmax of a row. What is rounded before the exponential shows in proportion to its size.
fn softmax(row: &[f64], u: f64) -> Vec<(f64, f64)> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - most).exp()).sum();
    let shares: Vec<(f64, f64)> = row
        .iter()
        .map(|x| ((x - most).exp() / sum, most - x))
        .collect();
    let of_sum: f64 = shares.iter().map(|(share, below)| share * below).sum();
    let near = shares.into_iter();
    near.map(|(share, below)| (share, u * share * (1.0 + below + of_sum)))
        .collect()
}

/// The angle by which the numbers `at` of both halves of a head are rotated.
fn angle(position: f64, at: usize, head_dim: usize, theta: f64) -> f64 {
    position * theta.powf(-2.0 * at as f64 / head_dim as f64)
}

/// Cosines and sines of [`Program::Rope`], for frameworks that take tables: each `[tokens, head_dim / 2]`, rounded to
/// f32.
pub fn rope_tables(start: usize, tokens: usize, head_dim: usize, theta: f32) -> [Tensor; 2] {
    let half = head_dim / 2;
    let table = |of: fn(f64) -> f64| {
        let places = (0..tokens).flat_map(|token| (0..half).map(move |at| (token, at)));
        let angles =
            places.map(|(token, at)| angle((start + token) as f64, at, head_dim, theta.into()));
        Tensor::floats(
            [tokens, half],
            angles.map(|angle| of(angle) as f32).collect(),
        )
    };
    [table(f64::cos), table(f64::sin)]
}

/// Both halves of each head, rotated. Angles of f32 are off by roundings of the position.
fn rotated(x: &Tensor, start: usize, theta: f64, u: f64) -> Vec<(f64, f64)> {
    let (tokens, head_dim) = (x.shape[2], x.shape[3]);
    let half = head_dim / 2;
    let rows = by_row(x).enumerate();
    let rotated = rows.flat_map(|(row, x)| {
        let position = (start + row % tokens) as f64;
        let pair = |at: usize| {
            let angle = angle(position, at, head_dim, theta);
            let (a, b) = (x[at], x[at + half]);
            let limit = (u + ROUNDINGS * U32 * position) * (a.abs() + b.abs());
            let (sin, cos) = angle.sin_cos();
            [(a * cos - b * sin, limit), (b * cos + a * sin, limit)]
        };
        let pairs: Vec<_> = (0..half).map(pair).collect();
        let halves =
            [0, 1].map(|half| pairs.iter().map(move |pair| pair[half]).collect::<Vec<_>>());
        halves.concat()
    });
    rotated.collect()
}

/// Attention by its formula. A score that is off by `d` changes a weight by `d` of it, and the sum of weights as
/// much: a result is off by `2 d` of the mean of the values' sizes at most, and by the roundings of weights and
/// result.
fn attention(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    scale: f64,
    seen: impl Fn(usize, usize) -> bool,
    u: f64,
) -> Vec<(f64, f64)> {
    let (heads, tokens, head_dim) = (queries.shape[1], queries.shape[2], queries.shape[3]);
    let (kv_heads, entries) = (keys.shape[1], keys.shape[2]);
    let (keys, values): (Vec<_>, Vec<_>) = (by_row(keys).collect(), by_row(values).collect());
    let rows = by_row(queries).enumerate();
    let mixed = rows.flat_map(|(row, query)| {
        let (head, token) = (row / tokens, row % tokens);
        let first = head / (heads / kv_heads) * entries;
        let entries: Vec<usize> = (0..entries).filter(|&entry| seen(token, entry)).collect();
        let mut off = 0.0_f64;
        let scores = entries.iter().map(|entry| {
            let terms = || {
                query
                    .iter()
                    .zip(&keys[first + entry])
                    .map(|(q, k)| q * k * scale)
            };
            let score: f64 = terms().sum();
            let on_the_way = terms().map(|term| term * term).sum::<f64>().sqrt();
            off = off.max((u + of_sums(head_dim)) * (score.abs() + on_the_way));
            score
        });
        let scores: Vec<f64> = scores.collect();
        let weights = softmax(&scores, 0.0);
        let both = (0..head_dim).map(|column| {
            let terms = || {
                let weighted = weights.iter().zip(&entries);
                weighted.map(|((weight, _), entry)| weight * values[first + entry][column])
            };
            let size: f64 = terms().map(f64::abs).sum();
            (terms().sum(), (2.0 * off + u) * size)
        });
        both.collect::<Vec<_>>()
    });
    mixed.collect()
}
