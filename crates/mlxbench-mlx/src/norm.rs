//! RMSNorm as Gemma has it.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast::rms_norm;

/// `x / sqrt(mean(x^2) + eps) * (1 + weight)` over the last axis, all in f32, rounded to the dtype
/// of `x` at the end.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    /// `1 + weight` in f32, of shape `[width]`.
    factor: Array,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn new(factor: Array, eps: f64) -> Self {
        Self {
            factor,
            eps: eps as f32,
        }
    }

    /// Keeps shape and dtype.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        // MLX's kernel works in the wider of its two dtypes, here f32.
        rms_norm(x, Some(&self.factor), self.eps)?.as_dtype(x.dtype())
    }
}
