//! Products of random codes, against the same in f32 on the CPU.

use mlxbench_core::Scheme;
use mlxbench_core::quantise::Codes;
use tch::{Device, Kind, TchError, Tensor};

use super::{Kernel, Quantised, TILE, bits, not_libtorchs};
use crate::kernels::tolerance;

/// Rows of a matrix; the last of its tiles is tried as a slice, too.
const ROWS: i64 = 2 * TILE;
/// Columns: libtorch packs 4 bits of one in larger tiles than of the other.
const COLUMNS: [i64; 2] = [192, 256];
/// Rows that are multiplied: MPS has a kernel for few and one for many.
const INPUTS: [i64; 3] = [1, 5, 33];

/// Tries all products of a model with weights of `scheme`, with activations of a dtype on a device.
///
/// # Errors
/// libtorch's own where it can't; in our words where the results are wrong.
pub(crate) fn try_all(scheme: Scheme, place: (Kind, Device)) -> Result<(), TchError> {
    tch::manual_seed(0);
    // Tables are in q8 in every scheme.
    let of_layers = (scheme != Scheme::Q8).then_some(scheme);
    for scheme in [Scheme::Q8].into_iter().chain(of_layers) {
        let kernel = Kernel::of(scheme, place);
        for columns in COLUMNS {
            try_one(kernel, columns, place)?;
        }
    }
    Ok(())
}

fn try_one(kernel: Kernel, columns: i64, place: (Kind, Device)) -> Result<(), TchError> {
    let (codes, dequantised) = random(kernel.scheme(), [ROWS, columns])?;
    let packed = Quantised::pack(kernel, [Ok(codes)].into_iter(), [ROWS, columns], place)?;
    for inputs in INPUTS {
        let x = Tensor::f_randn([inputs, columns], (Kind::Float, Device::Cpu))?;
        let x = x.f_to_kind(place.0)?;
        let expected = x
            .f_to_kind(Kind::Float)?
            .f_linear(&dequantised, None::<&Tensor>)?;
        let x = x.f_to_device(place.1)?;
        check(kernel, &packed.product(&x)?, &expected)?;
        let slice = packed.rows(TILE, TILE)?.product(&x)?;
        check(kernel, &slice, &expected.f_narrow(1, TILE, TILE)?)?;
    }
    if kernel.scheme() == Scheme::Q8 {
        let ids = Tensor::f_from_slice(&[ROWS - 1, 0, TILE])?;
        let expected = dequantised.f_index_select(0, &ids)?;
        check(
            kernel,
            &packed.lookup(&ids.f_to_device(place.1)?)?,
            &expected,
        )?;
    }
    Ok(())
}

/// Random codes, and the weights that they stand for, of `shape`, in f32 on the CPU.
pub(super) fn random(scheme: Scheme, shape: [i64; 2]) -> Result<(Codes, Tensor), TchError> {
    let weights = Tensor::f_randn(shape, (Kind::Float, Device::Cpu))?;
    let weights = Vec::<f32>::try_from(weights.f_reshape([-1])?)?;
    let codes = Codes::of(scheme, &weights, shape[1] as usize).map_err(not_libtorchs)?;
    let dequantised: Vec<f32> = codes.dequantised().collect();
    Ok((codes, Tensor::f_from_slice(&dequantised)?.f_view(shape)?))
}

/// Whether `got` is as near to `expected` as its dtype allows.
fn check(kernel: Kernel, got: &Tensor, expected: &Tensor) -> Result<(), TchError> {
    let in_f32 = got.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let largest = |x: &Tensor| f64::try_from(x.f_abs()?.f_max()?);
    let far = largest(&in_f32.f_sub(expected)?)? / largest(expected)?;
    // Not a number is far, too.
    match far <= tolerance(got.kind()) {
        true => Ok(()),
        false => Err(not_libtorchs(format!(
            "its {}-bit product is wrong here, by {far:.3} of the largest result",
            bits(kernel.scheme())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_chosen_here_is_right() {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            for scheme in [Scheme::Q8, Scheme::Q4] {
                try_all(scheme, (kind, Device::Cpu)).unwrap();
            }
        }
    }

    #[test]
    fn a_wrong_product_is_refused_with_how_wrong_it_is() {
        let expected = Tensor::from_slice(&[1.0_f32, -2.0, 0.5]);
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let got = expected.to_kind(kind);
            check(Kernel::Int8Pack, &got, &expected).unwrap();
            for wrong in [&got * 0.9, &got * f64::NAN] {
                let error = check(Kernel::Int4Pack, &wrong, &expected).unwrap_err();
                assert!(
                    error.to_string().contains("4-bit product is wrong"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_libtorch_cannot_do_is_told_in_its_words() {
        // Its own product for GPUs has none for the CPU.
        let error = try_one(Kernel::Int4Pack, 256, (Kind::BFloat16, Device::Cpu)).unwrap_err();
        assert!(error.to_string().contains("int4pack"), "{error}");
    }
}
