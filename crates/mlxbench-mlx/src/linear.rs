//! Products with a weight matrix.

use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{addmm, concatenate};
use mlx_rs::{Array, Dtype};

use crate::quantised::Quantised;

/// A matrix of weights. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) enum Weight {
    /// In the model's dtype.
    Plain {
        /// Shape `[out_features, in_features]`.
        weight: Array,
        /// The same, of shape `[in_features, out_features]`: a view, made once rather than for every product.
        transposed: Array,
    },
    Quantised(Quantised),
    /// Matrices below one another, packed in different ways.
    Mixed(Vec<Weight>),
}

impl Weight {
    /// With a weight of shape `[out_features, in_features]`.
    pub(crate) fn plain(weight: Array) -> Self {
        Self::Plain {
            transposed: weight.t(),
            weight,
        }
    }

    /// Its rows from `first` on, of the same memory.
    fn rows_from(&self, first: i32) -> Result<Self> {
        match self {
            Self::Plain { weight, .. } => Ok(Self::plain(weight.try_index(first..)?)),
            Self::Quantised(weight) => weight.rows_from(first).map(Self::Quantised),
            Self::Mixed(parts) => {
                let mut start = 0;
                let mut wanted = Vec::new();
                for part in parts {
                    let end = start + part.rows();
                    if first <= start {
                        wanted.push(part.clone());
                    } else if first < end {
                        wanted.push(part.rows_from(first - start)?);
                    }
                    start = end;
                }
                Ok(Self::Mixed(wanted))
            }
        }
    }

    fn rows(&self) -> i32 {
        match self {
            Self::Plain { weight, .. } => weight.dim(0),
            Self::Quantised(weight) => weight.rows(),
            Self::Mixed(parts) => parts.iter().map(Self::rows).sum(),
        }
    }

    /// `x W^T` for `x` of shape `[batch, tokens, in_features]`.
    fn product(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Plain { transposed, .. } => x.matmul(transposed),
            Self::Quantised(weight) => weight.product(x),
            Self::Mixed(parts) => {
                let products = parts.iter().map(|part| part.product(x));
                concatenate(&products.collect::<Result<Vec<_>>>()?, -1)
            }
        }
    }

    /// The rows `ids`, of shape `[batch, tokens]`, in `dtype`, the model's. Shape
    /// `[batch, tokens, in_features]`.
    pub(crate) fn lookup(&self, ids: &Array, dtype: Dtype) -> Result<Array> {
        match self {
            Self::Plain { weight, .. } => weight.take_axis(ids, 0),
            Self::Quantised(weight) => weight.lookup(ids, dtype),
            Self::Mixed(_) => Err(Exception::custom("a table is one matrix")),
        }
    }

    /// Bytes of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Plain { weight, .. } => weight.nbytes() as u64,
            Self::Quantised(weight) => weight.bytes(),
            Self::Mixed(parts) => parts.iter().map(Self::bytes).sum(),
        }
    }
}

/// `x W^T + b`, with the weights as Hugging Face stores them.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    /// Shape `[out_features]`.
    bias: Option<Array>,
}

impl Linear {
    pub(crate) fn new(weight: Weight, bias: Option<Array>) -> Self {
        Self { weight, bias }
    }

    /// The product that gives the outputs from `first` on only, of the same memory.
    pub(crate) fn outputs_from(&self, first: i32) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.try_index(first..));
        Ok(Self {
            weight: self.weight.rows_from(first)?,
            bias: bias.transpose()?,
        })
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        match (&self.weight, &self.bias) {
            (Weight::Plain { transposed, .. }, Some(bias)) => {
                addmm(bias, x, transposed, None, None)
            }
            (weight, Some(bias)) => weight.product(x)?.add(bias),
            (weight, None) => weight.product(x),
        }
    }
}
