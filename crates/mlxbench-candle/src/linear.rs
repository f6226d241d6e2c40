//! Products with a weight matrix.

use candle_core::{Result, Tensor};

/// `x W^T + b`, with the weights as Hugging Face stores them.
#[derive(Debug)]
pub(crate) struct Linear {
    /// Shape `[out_features, in_features]`.
    weight: Tensor,
    /// Shape `[out_features]`.
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let y = x
            .reshape((batch * tokens, width))?
            .matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape((batch, tokens, ()))
    }
}
