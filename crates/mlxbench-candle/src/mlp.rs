//! The gated MLP (GeGLU).

use candle_core::{D, DType, Device, Result, Tensor};
use mlxbench_core::gemma::{LayerNames, parts};

use crate::framework::Candle;
use crate::linear::Linear;
use crate::weights::Weights;

/// Gate and up projection in one product.
#[derive(Debug)]
pub struct Mlp {
    pub(crate) width: usize,
    pub(crate) gate_up_proj: Linear,
    pub(crate) down_proj: Linear,
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
        gated(gate_up, self.width)
    }

    fn down(&self, gated: &Tensor) -> Result<Tensor> {
        self.down_proj.forward(gated)
    }
}

/// The gated half of both projections, of shape `[..., 2 * width]`.
pub(crate) fn gated(gate_up: &Tensor, width: usize) -> Result<Tensor> {
    let half = |index| gate_up.narrow(D::Minus1, index * width, width);
    let (gate, up) = (half(0)?, half(1)?);
    match gate_up.device() {
        // On the CPU candle's element-wise operations use all threads on contiguous tensors only.
        Device::Cpu => geglu(&gate.contiguous()?, &up.contiguous()?),
        _ => geglu(&gate, &up),
    }
}

/// `gelu(gate) * up`. In 16 bits candle rounds inside its GELU; the reference rounds once, at the end.
pub(crate) fn geglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.to_dtype(DType::F32)?.gelu()?.to_dtype(up.dtype())? * up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_one_product_need_no_copy() {
        let both = Tensor::randn(0_f32, 1.0, (2, 3, 8), &Device::Cpu).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let both = both.to_dtype(dtype).unwrap();
            let half = |start| both.narrow(2, start, 4).unwrap();
            let copied = |start| half(start).contiguous().unwrap();
            let [views, copies] = [
                geglu(&half(0), &half(4)).unwrap(),
                geglu(&copied(0), &copied(4)).unwrap(),
            ]
            .map(|x| x.to_dtype(DType::F32).unwrap().to_vec3::<f32>().unwrap());
            assert_eq!(views, copies);
        }
    }
}
