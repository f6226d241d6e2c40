//! RMSNorm as Gemma has it.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::rms_norm;

/// `x / sqrt(mean(x^2) + eps) * (1 + weight)` over the last axis, all in f32, rounded to the dtype
/// of `x` at the end.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    /// `1 + weight` in f32, of shape `[width]`.
    factor: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn new(factor: Tensor, eps: f64) -> Self {
        Self {
            factor,
            eps: eps as f32,
        }
    }

    /// Keeps shape and dtype. `x` must be contiguous.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // candle's fused kernel works in the dtype of its input, so 16-bit inputs are widened.
        rms_norm(&x.to_dtype(DType::F32)?, &self.factor, self.eps)?.to_dtype(x.dtype())
    }
}
