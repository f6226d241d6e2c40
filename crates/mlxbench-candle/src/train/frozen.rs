//! The product with weights that aren't trained. candle's own computes the gradient of both sides, whether anybody
//! asks for it or not, and keeps it: as many numbers as there are weights, by a third of a step's work.

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor,
};

/// `x W^T` for `x` of shape `[rows, in_features]`, through which the gradient of `x` passes.
pub(crate) fn product(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Frozen {
        transposed: weight.t()?,
    })
}

struct Frozen {
    /// Shape `[in_features, out_features]`.
    transposed: Tensor,
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
        let (weights, of_weights) = self.transposed.storage_and_layout();
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
        let weight = self.transposed.t()?;
        gradient.contiguous()?.matmul(&weight).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_product_and_the_gradient_are_candles_and_weights_have_none() {
        let random =
            |shape: (usize, usize)| Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).unwrap();
        let (weight, x) = (random((4, 3)), Var::from_tensor(&random((5, 3))).unwrap());
        let expected = x.matmul(&weight.t().unwrap()).unwrap();
        let got = product(&weight, &x).unwrap();
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(&got), numbers(&expected));
        let gradient = |y: &Tensor| y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let (got, expected) = (gradient(&got), gradient(&expected));
        let of = |store: &candle_core::backprop::GradStore| numbers(store.get(&x).unwrap());
        assert_eq!(of(&got), of(&expected));
    }
}
