//! Products with a weight matrix.

use tch::{TchError, Tensor};

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
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_linear(&self.weight, self.bias.as_ref())
    }
}
