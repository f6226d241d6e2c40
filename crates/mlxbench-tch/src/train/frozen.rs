//! The product with quantised weights, which aren't trained: see `frozen.cpp`. libtorch's own products with codes
//! have no gradient, and the graph of a plain one would keep its dequantised weights until the backward pass has come
//! to them, those of all layers at once. Here they are dequantised for each pass, and gone behind it.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;

use tch::{TchError, Tensor, no_grad};

use crate::quantised::Quantised;

unsafe extern "C" {
    fn mlxbench_torch_frozen(
        x: *const c_void,
        product: *const c_void,
        weights: *mut c_void,
        dequantise: extern "C" fn(*const c_void) -> *mut c_void,
        drop: extern "C" fn(*mut c_void),
        linked: *mut *mut c_void,
    ) -> c_int;
}

/// `x W^T`, through which the gradient of `x` passes: from `[.., in_features]` to `[.., out_features]`. Outside of
/// inference mode.
pub(crate) fn product(weights: &Quantised, x: &Tensor) -> Result<Tensor, TchError> {
    let product = no_grad(|| x.f_linear(&weights.dequantised()?, None::<&Tensor>))?;
    if !x.requires_grad() {
        return Ok(product);
    }
    let weights = Box::into_raw(Box::new(weights.shallow_clone()));
    let mut linked = ptr::null_mut();
    // SAFETY: both tensors are alive, the weights are the shim's from here on, and it writes a new tensor.
    let done = unsafe {
        mlxbench_torch_frozen(
            x.as_ptr().cast(),
            product.as_ptr().cast(),
            weights.cast(),
            dequantised,
            dropped,
            &mut linked,
        )
    };
    match done {
        // SAFETY: made by the shim with C++'s `new`, as tch makes its own, and nobody else has it.
        0 => Ok(unsafe { Tensor::from_ptr(linked.cast()) }),
        _ => Err(TchError::Torch(
            "libtorch can't give a product with quantised weights a gradient".into(),
        )),
    }
}

/// What the codes stand for, as a tensor that the caller owns; null where libtorch can't make it.
extern "C" fn dequantised(weights: *const c_void) -> *mut c_void {
    // SAFETY: a `Quantised` of [`product`], which [`dropped`] hasn't got yet.
    let weights = unsafe { &*weights.cast::<Quantised>() };
    match weights.dequantised() {
        Ok(tensor) => ManuallyDrop::new(tensor).as_mut_ptr().cast(),
        Err(_) => ptr::null_mut(),
    }
}

extern "C" fn dropped(weights: *mut c_void) {
    // SAFETY: the box of [`product`], which nobody uses any more.
    drop(unsafe { Box::from_raw(weights.cast::<Quantised>()) });
}

#[cfg(test)]
mod tests {
    use mlxbench_core::quantise::Codes;
    use mlxbench_core::{Scheme, numbers};
    use tch::{Device, Kind};

    use super::*;
    use crate::inference::inference;
    use crate::quantised::Kernel;

    const COLUMNS: i64 = 128;

    fn packed(kernel: Kernel, scheme: Scheme, kind: Kind) -> Quantised {
        let weights: Vec<f32> = numbers(3).take(64 * COLUMNS as usize).collect();
        let codes = Codes::of(scheme, &weights, COLUMNS as usize).unwrap();
        let blocks = [Ok(codes)].into_iter();
        inference(|| Quantised::pack(kernel, blocks, [64, COLUMNS], (kind, Device::Cpu))).unwrap()
    }

    /// The product of `x`, and the gradient of the sum of its squares.
    fn with_gradient(x: &Tensor, product: impl Fn(&Tensor) -> Tensor) -> [Tensor; 2] {
        let x = x.detach().set_requires_grad(true);
        let y = product(&x);
        let gradients = Tensor::run_backward(&[y.square().sum(Kind::Float)], &[&x], false, false);
        [y.detach(), gradients[0].shallow_clone()]
    }

    #[test]
    fn product_and_gradient_are_those_of_the_dequantised_weights() {
        for (kernel, scheme) in [
            (Kernel::Int8Pack, Scheme::Q8),
            (Kernel::Int4PackForCpu, Scheme::Q4),
            (Kernel::Dequantised(Scheme::Q8), Scheme::Q8),
            (Kernel::Dequantised(Scheme::Q4), Scheme::Q4),
        ] {
            for kind in [Kind::Float, Kind::BFloat16] {
                let weights = packed(kernel, scheme, kind);
                let x = Tensor::randn([2, 3, COLUMNS], (kind, Device::Cpu));
                let plain = weights.dequantised().unwrap();
                let expected = with_gradient(&x, |x| x.linear(&plain, None::<&Tensor>));
                let got = with_gradient(&x, |x| product(&weights, x).unwrap());
                assert_eq!(got, expected, "{kernel:?}, {kind:?}");
            }
        }
    }

    #[test]
    fn what_has_no_gradient_stays_without() {
        let weights = packed(Kernel::Int8Pack, Scheme::Q8, Kind::Float);
        let x = Tensor::ones([1, COLUMNS], (Kind::Float, Device::Cpu));
        assert!(!product(&weights, &x).unwrap().requires_grad());
    }
}
