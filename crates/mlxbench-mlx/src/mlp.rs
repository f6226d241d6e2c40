//! The gated MLP (GeGLU).

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlxbench_core::gemma::{LayerNames, parts};

use crate::framework::Mlx;
use crate::fused::Fused;
use crate::linear::Linear;
use crate::weights::Weights;

/// Gate and up projection in one product.
#[derive(Debug)]
pub struct Mlp {
    gate_up_proj: Linear,
    down_proj: Linear,
    geglu: Fused,
}

impl parts::Mlp<Mlx> for Mlp {
    fn load(weights: &Weights<'_>, names: LayerNames, width: usize, hidden: usize) -> Result<Self> {
        let linear = |modules: &[&str], columns| weights.linear(names, modules, columns, false);
        Ok(Self {
            gate_up_proj: linear(&["mlp.gate_proj", "mlp.up_proj"], hidden)?,
            down_proj: linear(&["mlp.down_proj"], width)?,
            geglu: Fused::geglu(),
        })
    }

    fn gate_up(&self, x: &Array) -> Result<Array> {
        self.gate_up_proj.forward(x)
    }

    fn gated(&self, gate_up: &Array) -> Result<Array> {
        let [gate, up] = &gate_up.split_equal(2, -1)?[..] else {
            unreachable!("split in two");
        };
        self.geglu.forward(gate, up)
    }

    fn down(&self, gated: &Array) -> Result<Array> {
        self.down_proj.forward(gated)
    }
}
