//! The gated MLP (GeGLU).

use mlxbench_core::GemmaConfig;
use tch::{TchError, Tensor};

use crate::linear::Linear;
use crate::weights::LayerWeights;

/// `down(gelu(gate(x)) * up(x))`, with the tanh form of GELU.
#[derive(Debug)]
pub(crate) struct Mlp {
    /// Gate and up projection in one product.
    pub(crate) gate_up_proj: Linear,
    pub(crate) down_proj: Linear,
}

impl Mlp {
    pub(crate) fn load(config: &GemmaConfig, weights: &LayerWeights<'_>) -> Result<Self, TchError> {
        let gate_up = ["mlp.gate_proj.weight", "mlp.up_proj.weight"];
        let down = ["mlp.down_proj.weight"];
        Ok(Self {
            gate_up_proj: Linear::new(weights.matrix(&gate_up, config.hidden_size)?, None),
            down_proj: Linear::new(weights.matrix(&down, config.intermediate_size)?, None),
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.down_proj
            .forward(&self.gated(&self.gate_up_proj.forward(x)?)?)
    }

    /// The gated half, of shape `[batch, tokens, intermediate_size]`, of both together.
    pub(crate) fn gated(&self, gate_up: &Tensor) -> Result<Tensor, TchError> {
        let [gate, up] = <[Tensor; 2]>::try_from(gate_up.f_chunk(2, -1)?)
            .map_err(|parts| TchError::Shape(format!("{} parts of two", parts.len())))?;
        gate.f_gelu("tanh")?.f_mul_(&up)
    }
}
