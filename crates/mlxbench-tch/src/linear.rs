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

    /// So many of its outputs, from `first` on; the weights are shared.
    pub(crate) fn rows(&self, first: i64, count: i64) -> Result<Self, TchError> {
        let rows = |tensor: &Tensor| tensor.f_narrow(0, first, count);
        Ok(Self {
            weight: rows(&self.weight)?,
            bias: self.bias.as_ref().map(rows).transpose()?,
        })
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_linear(&self.weight, self.bias.as_ref())
    }
}
