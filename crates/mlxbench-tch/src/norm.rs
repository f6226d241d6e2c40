//! RMSNorm as Gemma has it.

use mlxbench_core::gemma::NormSpec;
use mlxbench_core::gemma::parts::Norm;
use tch::{TchError, Tensor};

use crate::framework::Torch;
use crate::inference::kept;
use crate::weights::Weights;

/// One kernel of libtorch's where it has one for the device, in the model's dtype: METHODOLOGY.md says
/// why.
#[derive(Debug)]
pub struct RmsNorm {
    /// What is multiplied by, of shape `[width]`.
    factor: Option<Tensor>,
    width: i64,
    eps: f64,
}

impl RmsNorm {
    /// [`Norm::forward`], through which the gradient of `x` passes. Outside of inference mode.
    pub(crate) fn with_gradient(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let factor = self.factor.as_ref().map(kept).transpose()?;
        x.f_rms_norm([self.width], factor.as_ref(), self.eps)
    }
}

impl Norm<Torch> for RmsNorm {
    fn load(weights: &Weights<'_>, spec: &NormSpec) -> Result<Self, TchError> {
        Ok(Self {
            factor: weights.norm(spec)?,
            width: spec.width as i64,
            eps: spec.eps,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_rms_norm([self.width], self.factor.as_ref(), self.eps)
    }
}
