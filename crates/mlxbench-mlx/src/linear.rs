//! Products with a weight matrix.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::ops::addmm;

/// `x W^T + b`, with the weights as Hugging Face stores them.
#[derive(Debug)]
pub(crate) struct Linear {
    /// Shape `[out_features, in_features]`.
    weight: Array,
    /// Shape `[out_features]`.
    bias: Option<Array>,
}

impl Linear {
    pub(crate) fn new(weight: Array, bias: Option<Array>) -> Self {
        Self { weight, bias }
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        let weight = self.weight.t();
        match &self.bias {
            Some(bias) => addmm(bias, x, weight, None, None),
            None => x.matmul(weight),
        }
    }
}
