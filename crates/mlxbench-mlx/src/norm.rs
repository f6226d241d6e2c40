//! RMSNorm as Gemma has it.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast::rms_norm;
use mlxbench_core::gemma::NormSpec;
use mlxbench_core::gemma::parts::Norm;

use crate::framework::Mlx;
use crate::weights::Weights;

/// One kernel of MLX's, in the model's dtype: METHODOLOGY.md says why.
#[derive(Debug)]
pub struct RmsNorm {
    /// What is multiplied by, of shape `[width]`.
    factor: Option<Array>,
    eps: f32,
}

impl Norm<Mlx> for RmsNorm {
    fn load(weights: &Weights<'_>, spec: &NormSpec) -> Result<Self> {
        Ok(Self {
            factor: weights.norm(spec)?,
            eps: spec.eps as f32,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        rms_norm(x, self.factor.as_ref(), self.eps)
    }
}
