//! The gated MLP (GeGLU).

use candle_core::{DType, Result, Tensor};
use mlxbench_core::gemma::{LayerNames, parts};

use crate::framework::Candle;
use crate::linear::Linear;
use crate::weights::Weights;

/// Gate and up projection in one product.
#[derive(Debug)]
pub struct Mlp {
    width: usize,
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl parts::Mlp<Candle> for Mlp {
    fn load(weights: &Weights<'_>, names: LayerNames, width: usize, hidden: usize) -> Result<Self> {
        let linear = |modules: &[&str], columns| weights.linear(names, modules, columns, false);
        Ok(Self {
            width,
            gate_up_proj: linear(&["mlp.gate_proj", "mlp.up_proj"], hidden)?,
            down_proj: linear(&["mlp.down_proj"], width)?,
        })
    }

    fn gate_up(&self, x: &Tensor) -> Result<Tensor> {
        self.gate_up_proj.forward(x)
    }

    fn gated(&self, gate_up: &Tensor) -> Result<Tensor> {
        // candle's element-wise operations use all threads on contiguous tensors only.
        let half = |index| {
            gate_up
                .narrow(2, index * self.width, self.width)?
                .contiguous()
        };
        // In 16 bits candle rounds inside its GELU; the reference rounds once, at the end.
        let gate = half(0)?.to_dtype(DType::F32)?.gelu()?;
        gate.to_dtype(gate_up.dtype())? * half(1)?
    }

    fn down(&self, gated: &Tensor) -> Result<Tensor> {
        self.down_proj.forward(gated)
    }
}
