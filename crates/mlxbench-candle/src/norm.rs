//! RMSNorm as Gemma has it.

use candle_core::{Result, Tensor};
use candle_nn::ops::rms_norm;
use mlxbench_core::gemma::parts::Norm;

use crate::framework::Candle;
use crate::weights::Weights;

/// One kernel of candle's, in the model's dtype: METHODOLOGY.md says why.
#[derive(Debug)]
pub struct RmsNorm {
    /// `1 + weight`, of shape `[width]`.
    factor: Tensor,
    eps: f32,
}

impl Norm<Candle> for RmsNorm {
    fn load(weights: &Weights<'_>, name: &str, eps: f64) -> Result<Self> {
        Ok(Self {
            factor: weights.norm(name)?,
            eps: eps as f32,
        })
    }

    /// `x` must be contiguous.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.factor, self.eps)
    }
}
