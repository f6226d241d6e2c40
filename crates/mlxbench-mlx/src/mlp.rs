//! The gated MLP (GeGLU).

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlxbench_core::GemmaConfig;

use crate::fused::Fused;
use crate::linear::Linear;
use crate::weights::LayerWeights;

/// `down(gelu(gate(x)) * up(x))`, with the tanh form of GELU.
#[derive(Debug)]
pub(crate) struct Mlp {
    /// Gate and up projection in one product.
    pub(crate) gate_up_proj: Linear,
    pub(crate) down_proj: Linear,
    geglu: Fused,
}

impl Mlp {
    pub(crate) fn load(config: &GemmaConfig, weights: &LayerWeights<'_>) -> Result<Self> {
        let gate_up = ["mlp.gate_proj.weight", "mlp.up_proj.weight"];
        let down = ["mlp.down_proj.weight"];
        Ok(Self {
            gate_up_proj: Linear::new(weights.matrix(&gate_up, config.hidden_size)?, None),
            down_proj: Linear::new(weights.matrix(&down, config.intermediate_size)?, None),
            geglu: Fused::geglu(),
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        self.down_proj
            .forward(&self.gated(&self.gate_up_proj.forward(x)?)?)
    }

    /// The gated half, of shape `[batch, tokens, intermediate_size]`, of both together.
    pub(crate) fn gated(&self, gate_up: &Array) -> Result<Array> {
        let [gate, up] = &gate_up.split_equal(2, -1)?[..] else {
            unreachable!("split in two");
        };
        self.geglu.forward(gate, up)
    }
}
