//! RMSNorm as Gemma has it.

use mlxbench_core::gemma::parts::Norm;
use tch::{TchError, Tensor};

use crate::framework::Torch;
use crate::weights::Weights;

/// One kernel of libtorch's where it has one for the device, in the model's dtype: METHODOLOGY.md says
/// why.
#[derive(Debug)]
pub struct RmsNorm {
    /// `1 + weight`, of shape `[width]`.
    factor: Tensor,
    eps: f64,
}

impl Norm<Torch> for RmsNorm {
    fn load(weights: &Weights<'_>, name: &str, eps: f64) -> Result<Self, TchError> {
        Ok(Self {
            factor: weights.norm(name)?,
            eps,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_rms_norm(self.factor.size(), Some(&self.factor), self.eps)
    }
}
