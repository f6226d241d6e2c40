//! RMSNorm as Gemma has it.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast::rms_norm;
use mlxbench_core::gemma::parts::Norm;

use crate::framework::Mlx;
use crate::weights::Weights;

/// One kernel of MLX's, in the model's dtype: METHODOLOGY.md says why.
#[derive(Debug)]
pub struct RmsNorm {
    /// `1 + weight`, of shape `[width]`.
    factor: Array,
    eps: f32,
}

impl Norm<Mlx> for RmsNorm {
    fn load(weights: &Weights<'_>, name: &str, eps: f64) -> Result<Self> {
        Ok(Self {
            factor: weights.norm(name)?,
            eps: eps as f32,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        rms_norm(x, Some(&self.factor), self.eps)
    }
}
