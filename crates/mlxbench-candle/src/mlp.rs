//! The gated MLP (GeGLU).

use candle_core::{DType, Result, Tensor};
use mlxbench_core::GemmaConfig;

use crate::linear::Linear;
use crate::weights::LayerWeights;

/// `down(gelu(gate(x)) * up(x))`, with the tanh form of GELU.
#[derive(Debug)]
pub(crate) struct Mlp {
    intermediate_size: usize,
    /// Gate and up projection in one product.
    pub(crate) gate_up_proj: Linear,
    pub(crate) down_proj: Linear,
}

impl Mlp {
    pub(crate) fn load(config: &GemmaConfig, weights: &LayerWeights<'_>) -> Result<Self> {
        let gate_up = ["mlp.gate_proj.weight", "mlp.up_proj.weight"];
        let down = ["mlp.down_proj.weight"];
        Ok(Self {
            intermediate_size: config.intermediate_size,
            gate_up_proj: Linear::new(weights.matrix(&gate_up, config.hidden_size)?, None),
            down_proj: Linear::new(weights.matrix(&down, config.intermediate_size)?, None),
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down_proj
            .forward(&self.gated(&self.gate_up_proj.forward(x)?)?)
    }

    /// The gated half, of shape `[batch, tokens, intermediate_size]`, of both together.
    pub(crate) fn gated(&self, gate_up: &Tensor) -> Result<Tensor> {
        let half = |index| {
            // candle's element-wise operations use all threads on contiguous tensors only.
            gate_up
                .narrow(2, index * self.intermediate_size, self.intermediate_size)?
                .contiguous()
        };
        // In 16 bits candle rounds inside its GELU; the reference rounds once, at the end.
        let gate = half(0)?.to_dtype(DType::F32)?.gelu()?;
        gate.to_dtype(gate_up.dtype())? * half(1)?
    }
}
