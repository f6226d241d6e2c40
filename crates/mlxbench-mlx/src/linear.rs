//! Products with a weight matrix.

use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{addmm, concatenate, gather_mm};
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

/// Matrices of the same shape, of which each row takes the one that it names.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// Shape `[count, in_features, out_features]`: a view.
    Plain(Array),
    /// Shapes as of one matrix, behind `count`.
    Quantised(Quantised),
    /// Several, whose outputs follow one another: mlx-lm keeps gate and up of experts so.
    Beside(Vec<Gathered>),
}

impl Gathered {
    /// `count` matrices that lie below one another in `weight`.
    pub(crate) fn new(weight: Weight, count: i32) -> Result<Self> {
        match weight {
            Weight::Plain { weight, .. } => {
                let each = weight.reshape(&[count, -1, weight.dim(1)])?;
                Ok(Self::Plain(each.swap_axes(1, 2)?))
            }
            Weight::Quantised(weight) => weight.parted(count).map(Self::Quantised),
            Weight::Mixed(_) => Err(Exception::custom("experts are one tensor")),
        }
    }

    /// `x W^T` with the matrices `indices`, of shape `[tokens, k]`, for `x` of shape `[tokens, k or 1, 1,
    /// in_features]`. Shape `[tokens, k, 1, out_features]`. `sorted`: the indices rise.
    pub(crate) fn product(&self, x: &Array, indices: &Array, sorted: bool) -> Result<Array> {
        match self {
            Self::Plain(weights) => gather_mm(x, weights, None, indices, sorted),
            Self::Quantised(weights) => weights.gathered_product(x, indices, sorted),
            Self::Beside(parts) => {
                let products = parts.iter().map(|part| part.product(x, indices, sorted));
                concatenate(&products.collect::<Result<Vec<_>>>()?, -1)
            }
        }
    }
}
