//! Products with a weight matrix.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::ops::addmm;
use mlx_rs::ops::indexing::TryIndexOp;

/// `x W^T + b`, with the weights as Hugging Face stores them.
#[derive(Debug)]
pub(crate) struct Linear {
    /// Shape `[in_features, out_features]`: a view, made once rather than for every product.
    weight: Array,
    /// Shape `[out_features]`.
    bias: Option<Array>,
}

impl Linear {
    /// With a weight of shape `[out_features, in_features]`.
    pub(crate) fn new(weight: Array, bias: Option<Array>) -> Self {
        Self {
            weight: weight.t(),
            bias,
        }
    }

    /// The product that gives the outputs from `first` on only, of the same memory.
    pub(crate) fn outputs_from(&self, first: i32) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.try_index(first..));
        Ok(Self {
            weight: self.weight.try_index((.., first..))?,
            bias: bias.transpose()?,
        })
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        match &self.bias {
            Some(bias) => addmm(bias, x, &self.weight, None, None),
            None => x.matmul(&self.weight),
        }
    }
}
