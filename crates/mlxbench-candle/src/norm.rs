//! RMSNorm as Gemma has it.

use candle_core::{Result, Tensor};
use candle_nn::ops::rms_norm;
use mlxbench_core::gemma::NormSpec;
use mlxbench_core::gemma::parts::Norm;

use crate::framework::Candle;
use crate::weights::Weights;

/// One kernel of candle's, in the model's dtype: METHODOLOGY.md says why.
#[derive(Debug)]
pub struct RmsNorm {
    /// What is multiplied by, of shape `[width]`.
    pub(crate) factor: Tensor,
    pub(crate) eps: f32,
}

impl Norm<Candle> for RmsNorm {
    fn load(weights: &Weights<'_>, spec: &NormSpec) -> Result<Self> {
        Ok(Self {
            factor: weights.norm(spec)?,
            eps: spec.eps as f32,
        })
    }

    /// `x` must be contiguous.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.factor, self.eps)
    }
}
