//! RMSNorm as Gemma has it.

use tch::{TchError, Tensor};

/// `x / sqrt(mean(x^2) + eps) * (1 + weight)` over the last axis, all in f32, rounded to the dtype
/// of `x` at the end.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    /// `1 + weight` in f32, of shape `[width]`.
    factor: Tensor,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn new(factor: Tensor, eps: f64) -> Self {
        Self { factor, eps }
    }

    /// Keeps shape and dtype.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        // In 16 bits libtorch widens x, multiplies by the factor in f32 and rounds once.
        x.f_rms_norm(self.factor.size(), Some(&self.factor), self.eps)
    }
}
