//! The gated MLP (GeGLU).

use mlxbench_core::gemma::{LayerNames, parts};
use tch::{TchError, Tensor};

use crate::framework::Torch;
use crate::linear::Linear;
use crate::weights::Weights;

/// Gate and up projection in one product.
#[derive(Debug)]
pub struct Mlp {
    pub(crate) gate_up_proj: Linear,
    pub(crate) down_proj: Linear,
}

impl parts::Mlp<Torch> for Mlp {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        width: usize,
        hidden: usize,
    ) -> Result<Self, TchError> {
        let linear = |modules: &[&str], columns| weights.linear(names, modules, columns, false);
        Ok(Self {
            gate_up_proj: linear(&["mlp.gate_proj", "mlp.up_proj"], hidden)?,
            down_proj: linear(&["mlp.down_proj"], width)?,
        })
    }

    fn gate_up(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.gate_up_proj.forward(x)
    }

    fn gated(&self, gate_up: &Tensor) -> Result<Tensor, TchError> {
        gated(gate_up)
    }

    fn down(&self, gated: &Tensor) -> Result<Tensor, TchError> {
        self.down_proj.forward(gated)
    }
}

/// The gated half of both projections, of shape `[..., 2 * width]`.
pub(crate) fn gated(gate_up: &Tensor) -> Result<Tensor, TchError> {
    let [gate, up] = <[Tensor; 2]>::try_from(gate_up.f_chunk(2, -1)?)
        .map_err(|parts| TchError::Shape(format!("{} parts of two", parts.len())))?;
    gate.f_gelu("tanh")?.f_mul_(&up)
}
