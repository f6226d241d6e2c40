//! The product with weights that aren't trained. candle's own computes the gradient of both sides, whether anybody
//! asks for it or not, and keeps it: as many numbers as there are weights, by a third of a step's work. Quantised
//! weights are dequantised for it, and once more in the backward pass, so that those of one matrix are there at a
//! time: candle's products with blocks have no gradient, and round activations to 8 bits.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor,
};

use crate::linear::Weight;

/// `x W^T` for `x` of shape `[rows, in_features]`, through which the gradient of `x` passes.
pub(crate) fn product(weight: &Weight, x: &Tensor) -> Result<Tensor> {
    let weight = weight.clone();
    x.contiguous()?.apply_op1(Frozen { weight })
}

struct Frozen {
    weight: Weight,
}

impl Frozen {
    /// The product of `x`, by the device's own; `of` picks the weights of its kind.
    fn product<S: BackendStorage>(
        &self,
        x: &S,
        layout: &Layout,
        of: impl Fn(&Storage) -> Option<&S>,
    ) -> Result<(S, Shape)> {
        let (rows, inner) = layout.shape().dims2()?;
        let transposed = self.weight.dequantised(x.dtype())?.t()?;
        let (weights, of_weights) = transposed.storage_and_layout();
        let outer = of_weights.shape().dims2()?.1;
        let Some(weights) = of(&weights) else {
            candle_core::bail!("weights and activations are on different devices");
        };
        let y = x.matmul(weights, (1, rows, outer, inner), layout, of_weights)?;
        Ok((y, (rows, outer).into()))
    }
}

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "product with frozen weights"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.product(x, layout, |storage| match storage {
            Storage::Cpu(storage) => Some(storage),
            _ => None,
        })
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        self.product(x, layout, |storage| match storage {
            Storage::Cuda(storage) => Some(storage),
            _ => None,
        })
    }

    fn metal_fwd(&self, x: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        self.product(x, layout, |storage| match storage {
            Storage::Metal(storage) => Some(storage),
            _ => None,
        })
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let weight = self.weight.dequantised(gradient.dtype())?;
        gradient.contiguous()?.matmul(&weight).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use mlxbench_core::quantise::Codes;
    use mlxbench_core::{Scheme, numbers};

    use super::*;
    use crate::quantised::Quantised;

    fn numbers_of(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Compares product and gradient with candle's own.
    fn check(weight: &Weight, what: &str) {
        let plain = weight.dequantised(DType::F32).unwrap();
        let x = Tensor::randn(0_f32, 1.0, (5, plain.dim(1).unwrap()), &Device::Cpu).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let expected = x.matmul(&plain.t().unwrap()).unwrap();
        let got = product(weight, &x).unwrap();
        assert_eq!(numbers_of(&got), numbers_of(&expected), "{what}");
        let gradient = |y: &Tensor| y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let (got, expected) = (gradient(&got), gradient(&expected));
        let of = |store: &candle_core::backprop::GradStore| numbers_of(store.get(&x).unwrap());
        assert_eq!(of(&got), of(&expected), "{what}");
    }

    #[test]
    fn the_product_and_the_gradient_are_candles_and_weights_have_none() {
        let weight = Tensor::randn(0_f32, 1.0, (4, 3), &Device::Cpu).unwrap();
        check(&Weight::Plain(weight), "plain weights");
    }

    #[test]
    fn quantised_weights_are_multiplied_as_what_their_codes_stand_for() {
        let quantised = |scheme| {
            let weights: Vec<f32> = numbers(5).take(12 * 64).collect();
            let codes = Codes::of(scheme, &weights, 64).unwrap();
            Quantised::of(&codes, &Device::Cpu).unwrap()
        };
        let (q8, q4) = (quantised(Scheme::Q8), quantised(Scheme::Q4));
        check(&Weight::Quantised(q8.clone()), "q8");
        check(&Weight::Quantised(q4.rows(2, 7)), "a part of q4");
        check(&Weight::Mixed(vec![q4, q8]), "q4 above q8");
    }
}
