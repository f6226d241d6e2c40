//! The operations that are tried, and what goes into them.

use serde::{Deserialize, Serialize};

use super::tensor::{Numbers, Tensor};
use crate::{Error, Result, Scheme};

/// An operation with its inputs. "Rows" are along the last axis, and indices count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Program {
    /// Running sums of rows: the shape of `x`.
    Cumsum {
        /// `[rows, columns]`.
        x: Tensor,
    },
    /// The smallest number of each row: `[rows]`.
    Min {
        /// `[rows, columns]`.
        x: Tensor,
    },
    /// The largest number of each row: `[rows]`.
    Max {
        /// `[rows, columns]`.
        x: Tensor,
    },
    /// Where each row has its largest number, the first place of several: integers of shape `[rows]`.
    Argmax {
        /// `[rows, columns]`.
        x: Tensor,
    },
    /// Each row from its smallest number to its largest.
    Sort {
        /// `[rows, columns]`.
        x: Tensor,
    },
    /// The largest numbers of each row, the largest first: `[rows, k]`.
    TopK {
        /// `[rows, columns]`.
        x: Tensor,
        /// How many.
        k: usize,
    },
    /// `x[i, index[i, j]]`: the shape of `index`.
    Gather {
        /// `[rows, columns]`.
        x: Tensor,
        /// Integers, `[rows, n]`.
        index: Tensor,
    },
    /// `x` with the rows of `source` in place of those at `index`, all different.
    IndexCopy {
        /// `[rows, columns]`.
        x: Tensor,
        /// Integers, `[n]`.
        index: Tensor,
        /// `[n, columns]`.
        source: Tensor,
    },
    /// `x` with each `source[i, j]` added at `[i, index[i, j]]`, of which some are the same.
    ScatterAdd {
        /// `[rows, columns]`.
        x: Tensor,
        /// Integers, `[rows, n]`.
        index: Tensor,
        /// `[rows, n]`.
        source: Tensor,
    },
    /// `x` with the rows of `source` in place of those from `start` on.
    SliceUpdate {
        /// `[rows, columns]`.
        x: Tensor,
        /// `[n, columns]`.
        source: Tensor,
        /// The first row.
        start: usize,
    },
    /// The rows `ids` of a table: `[n, columns]`.
    Embedding {
        /// `[rows, columns]`.
        table: Tensor,
        /// Integers, `[n]`.
        ids: Tensor,
    },
    /// `x W^T`: `[m, n]`, or `[batch, m, n]`.
    Product {
        /// `[m, k]`, or `[batch, m, k]`.
        x: Tensor,
        /// `[n, k]`, or `[batch, n, k]`.
        weight: Tensor,
    },
    /// `x W^T` with the weights that the codes of `weight` stand for (`src/quantise.rs`): `[m, n]`.
    QuantisedProduct {
        /// `[m, k]`.
        x: Tensor,
        /// Before it is quantised, in f32, `[n, k]`.
        weight: Tensor,
        /// How.
        scheme: Scheme,
    },
    /// The softmax of each row.
    Softmax {
        /// `[rows, columns]`.
        x: Tensor,
    },
    /// GELU in its tanh form, element by element.
    Gelu {
        /// Of any shape.
        x: Tensor,
    },
    /// `cap * tanh(x / cap)`, element by element.
    SoftCap {
        /// Of any shape.
        x: Tensor,
        /// The cap.
        cap: f32,
    },
    /// `x / sqrt(mean(x^2) + eps) * weight`, row by row.
    RmsNorm {
        /// `[rows, columns]`.
        x: Tensor,
        /// `[columns]`.
        weight: Tensor,
        /// What is added to the mean.
        eps: f32,
    },
    /// The rotation of tokens at positions from `start` on, of both halves of a head as Gemma has it.
    Rope {
        /// `[1, heads, tokens, head_dim]`.
        x: Tensor,
        /// The first token's position.
        start: usize,
        /// The base of the wave lengths.
        theta: f32,
    },
    /// Fused attention: the queries' shape.
    Attention {
        /// `[1, heads, tokens, head_dim]`.
        queries: Tensor,
        /// `[1, kv_heads, entries, head_dim]`; `kv_heads` divides `heads`.
        keys: Tensor,
        /// The shape of `keys`.
        values: Tensor,
        /// What scores are multiplied by.
        scale: f32,
        /// By the framework's causal flag: query `i` sees the entries up to `i`. Tokens and entries are as many.
        causal: bool,
        /// Integers, `[tokens, entries]`: 1 where a token sees an entry, else 0.
        mask: Option<Tensor>,
    },
}

/// What is wrong with an input.
fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(message.into()))
}

impl Program {
    /// The names of all operations, as [`Program::op`] gives them.
    pub const OPS: [&str; 19] = [
        "cumsum",
        "min",
        "max",
        "argmax",
        "sort",
        "top-k",
        "gather",
        "index-copy",
        "scatter-add",
        "slice-update",
        "embedding",
        "product",
        "quantised-product",
        "softmax",
        "gelu",
        "soft-cap",
        "rms-norm",
        "rope",
        "attention",
    ];

    /// The operation's name on the wire.
    pub fn op(&self) -> &'static str {
        match self {
            Self::Cumsum { .. } => "cumsum",
            Self::Min { .. } => "min",
            Self::Max { .. } => "max",
            Self::Argmax { .. } => "argmax",
            Self::Sort { .. } => "sort",
            Self::TopK { .. } => "top-k",
            Self::Gather { .. } => "gather",
            Self::IndexCopy { .. } => "index-copy",
            Self::ScatterAdd { .. } => "scatter-add",
            Self::SliceUpdate { .. } => "slice-update",
            Self::Embedding { .. } => "embedding",
            Self::Product { .. } => "product",
            Self::QuantisedProduct { .. } => "quantised-product",
            Self::Softmax { .. } => "softmax",
            Self::Gelu { .. } => "gelu",
            Self::SoftCap { .. } => "soft-cap",
            Self::RmsNorm { .. } => "rms-norm",
            Self::Rope { .. } => "rope",
            Self::Attention { .. } => "attention",
        }
    }

    /// Whether the inputs fit one another: an adapter may rely on it.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what doesn't.
    pub fn check(&self) -> Result<()> {
        for (name, tensor) in self.tensors() {
            whole(name, tensor)?;
        }
        match self {
            Self::Cumsum { x }
            | Self::Min { x }
            | Self::Max { x }
            | Self::Argmax { x }
            | Self::Sort { x }
            | Self::Softmax { x } => matrix("x", x).map(drop),
            Self::TopK { x, k } => match matrix("x", x)? {
                [_, columns] if (1..=columns).contains(k) => Ok(()),
                [_, columns] => wrong(format!("k is {k}, of {columns} columns")),
            },
            Self::Gather { x, index } => {
                let [rows, columns] = matrix("x", x)?;
                same(matrix("index", index)?[0], rows, "rows of index and x")?;
                below("index", index, columns)
            }
            Self::IndexCopy { x, index, source } => {
                let [rows, columns] = matrix("x", x)?;
                same(
                    matrix("source", source)?[1],
                    columns,
                    "columns of source and x",
                )?;
                same_shape("index", &index.shape, &[source.shape[0]])?;
                below("index", index, rows)
            }
            Self::ScatterAdd { x, index, source } => {
                let [rows, columns] = matrix("x", x)?;
                same(matrix("index", index)?[0], rows, "rows of index and x")?;
                same_shape("source", &source.shape, &index.shape)?;
                below("index", index, columns)
            }
            Self::SliceUpdate { x, source, start } => {
                let [rows, columns] = matrix("x", x)?;
                let [count, width] = matrix("source", source)?;
                same(width, columns, "columns of source and x")?;
                match start.checked_add(count).is_some_and(|end| end <= rows) {
                    true => Ok(()),
                    false => wrong(format!(
                        "{count} rows from {start} on don't fit into {rows}"
                    )),
                }
            }
            Self::Embedding { table, ids } => {
                let [rows, _] = matrix("table", table)?;
                same(ids.shape.len(), 1, "axes of ids")?;
                below("ids", ids, rows)
            }
            Self::Product { x, weight } => {
                let batched = x.shape.len() == 3 && weight.shape.len() == 3;
                if batched {
                    same(weight.shape[0], x.shape[0], "batches of weight and x")?;
                } else {
                    matrix("x", x)?;
                    matrix("weight", weight)?;
                }
                same(weight.columns(), x.columns(), "columns of weight and x")
            }
            Self::QuantisedProduct { x, weight, .. } => {
                let [_, columns] = matrix("x", x)?;
                same(
                    matrix("weight", weight)?[1],
                    columns,
                    "columns of weight and x",
                )?;
                weight.as_floats().map(drop)
            }
            Self::RmsNorm { x, weight, .. } => {
                let [_, columns] = matrix("x", x)?;
                same_shape("weight", &weight.shape, &[columns])
            }
            Self::Rope { x, start, .. } => {
                let [_, _, tokens, head_dim] = heads("x", x)?;
                if head_dim % 2 != 0 || start.checked_add(tokens).is_none_or(|end| end > 1 << 24) {
                    return wrong("a head that isn't two halves, or positions that are too many");
                }
                Ok(())
            }
            Self::Gelu { .. } | Self::SoftCap { .. } => Ok(()),
            Self::Attention {
                queries,
                keys,
                values,
                causal,
                mask,
                ..
            } => {
                let [_, of_queries, tokens, head_dim] = heads("queries", queries)?;
                let [_, of_keys, entries, width] = heads("keys", keys)?;
                same_shape("values", &values.shape, &keys.shape)?;
                same(width, head_dim, "widths of keys and queries")?;
                same(
                    of_queries % of_keys,
                    0,
                    "queries' heads beyond whole groups",
                )?;
                if *causal {
                    same(entries, tokens, "entries and tokens of a causal attention")?;
                }
                mask.as_ref().map_or(Ok(()), |mask| {
                    same_shape("mask", &mask.shape, &[tokens, entries])?;
                    below("mask", mask, 2)
                })
            }
        }
    }

    /// Its inputs, by name.
    fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::Cumsum { x }
            | Self::Min { x }
            | Self::Max { x }
            | Self::Argmax { x }
            | Self::Sort { x }
            | Self::TopK { x, .. }
            | Self::Softmax { x }
            | Self::Gelu { x }
            | Self::SoftCap { x, .. }
            | Self::Rope { x, .. } => vec![("x", x)],
            Self::Gather { x, index } => vec![("x", x), ("index", index)],
            Self::IndexCopy { x, index, source } | Self::ScatterAdd { x, index, source } => {
                vec![("x", x), ("index", index), ("source", source)]
            }
            Self::SliceUpdate { x, source, .. } => vec![("x", x), ("source", source)],
            Self::Embedding { table, ids } => vec![("table", table), ("ids", ids)],
            Self::Product { x, weight }
            | Self::QuantisedProduct { x, weight, .. }
            | Self::RmsNorm { x, weight, .. } => vec![("x", x), ("weight", weight)],
            Self::Attention {
                queries,
                keys,
                values,
                mask,
                ..
            } => {
                let mask = mask.as_ref().map(|mask| ("mask", mask));
                let all = [("queries", queries), ("keys", keys), ("values", values)];
                all.into_iter().chain(mask).collect()
            }
        }
    }
}

/// As many numbers as the shape says, and no axis without any.
fn whole(name: &str, tensor: &Tensor) -> Result<()> {
    let mut axes = tensor.shape.iter();
    let places = axes.try_fold(1_usize, |places, &axis| places.checked_mul(axis));
    // Frameworks count axes in 32 bits.
    match places {
        Some(places) if places == tensor.len() && (1..=1 << 30).contains(&places) => Ok(()),
        _ => wrong(format!(
            "{name} is of shape {:?} and has {} numbers",
            tensor.shape,
            tensor.len()
        )),
    }
}

fn axes<const N: usize>(name: &str, tensor: &Tensor) -> Result<[usize; N]> {
    let shape = tensor.shape.as_slice();
    shape
        .try_into()
        .or_else(|_| wrong(format!("{name} is of shape {shape:?}, not of {N} axes")))
}

fn matrix(name: &str, tensor: &Tensor) -> Result<[usize; 2]> {
    axes(name, tensor)
}

/// Of a batch of 1.
fn heads(name: &str, tensor: &Tensor) -> Result<[usize; 4]> {
    let shape: [usize; 4] = axes(name, tensor)?;
    same(shape[0], 1, "the batch")?;
    tensor.as_floats()?;
    Ok(shape)
}

fn same(found: usize, expected: usize, what: &str) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => wrong(format!("{what}: {found}, not {expected}")),
    }
}

fn same_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => wrong(format!("{name} is of shape {found:?}, not {expected:?}")),
    }
}

/// Integers from 0 to `end`, which isn't one of them.
fn below(name: &str, tensor: &Tensor, end: usize) -> Result<()> {
    let inside = |&index: &i64| usize::try_from(index).is_ok_and(|index| index < end);
    match &tensor.numbers {
        Numbers::Int(numbers) if numbers.iter().all(inside) => Ok(()),
        _ => wrong(format!("{name} must be integers from 0 to {}", end - 1)),
    }
}
