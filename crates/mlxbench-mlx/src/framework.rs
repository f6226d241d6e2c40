//! MLX as the layers see it. What it is asked for goes to the current stream.

use std::ops::Range;

use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::select;
use mlx_rs::{Array, Dtype};
use mlxbench_core::Error;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Framework;
use mlxbench_core::gemma::pass::{self, Pass};

use crate::attention::{Attention, Mask};
use crate::backend;
use crate::cache::KvCache;
use crate::experts::Experts;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerInput;
use crate::rope::Rope;
use crate::weights::Weights;

/// MLX.
#[derive(Debug)]
pub enum Mlx {}

/// A dtype.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub(crate) dtype: Dtype,
}

impl Framework for Mlx {
    type Tensor = Array;
    type Error = Exception;
    type Place = Place;
    type Weights<'a> = Weights<'a>;
    type Norm = RmsNorm;
    type Rope = Rope;
    type Mask = Mask;
    type Cache = KvCache;
    type Attention = Attention;
    type Mlp = Mlp;
    type Experts = Experts;
    type PerLayerInput = PerLayerInput;
    /// In the model's dtype, of shape `[1]`.
    type Scalar = Array;

    fn error(error: Exception) -> Error {
        backend::framework(error)
    }

    fn share(tensor: &Array) -> Array {
        tensor.clone()
    }

    fn add(x: Array, y: Array) -> Result<Array> {
        x.add(y)
    }

    fn scalar(weights: &Weights<'_>, name: &str) -> Result<Array> {
        weights.vector(name)
    }

    fn scale(x: Array, by: &Array) -> Result<Array> {
        x.multiply(by)
    }

    fn mask(pass: &Pass, attention: &AttentionSpec, place: &Place) -> Result<Mask> {
        // Only MLX's own attention, which has no soft-cap, knows causal masks.
        if pass.mask == pass::Mask::Causal && attention.softcap.is_none() {
            return Ok(Mask::Causal);
        }
        match pass.mask {
            pass::Mask::None => Ok(Mask::None),
            pass::Mask::Causal => additive(pass, None, place).map(Mask::Additive),
            pass::Mask::Windowed(window) => additive(pass, Some(window), place).map(Mask::Additive),
        }
    }
}

/// 0 where a new token sees an entry that is read, minus infinity elsewhere. Shape `[tokens, read]`,
/// made on the device.
fn additive(pass: &Pass, window: Option<usize>, place: &Place) -> Result<Array> {
    let positions =
        |range: Range<usize>| Array::arange::<i32, i32>(range.start as i32, range.end as i32, None);
    let tokens = positions(pass.positions.clone())?.expand_dims(1)?;
    let entries = positions(pass.read_positions())?;
    let mut seen = entries.le(&tokens)?;
    if let Some(window) = window {
        let end = entries.add(Array::from_int(window as i32))?;
        seen = seen.logical_and(tokens.lt(&end)?)?;
    }
    let scalar = |value| Array::from_f32(value).as_dtype(place.dtype);
    select(&seen, scalar(0.0)?, scalar(f32::NEG_INFINITY)?)
}

#[cfg(test)]
mod tests {
    use mlx_rs::{Stream, with_stream};
    use mlxbench_conformance::masks;

    use super::*;

    #[test]
    fn masks_are_those_written_out_by_hand() {
        for case in masks::cases() {
            let pass = &case.pass;
            let window = match pass.mask {
                pass::Mask::Windowed(window) => Some(window),
                _ => None,
            };
            for dtype in [Dtype::Float32, Dtype::Bfloat16] {
                let mask = with_stream(&Stream::cpu(), || {
                    let mask = additive(pass, window, &Place { dtype }).unwrap();
                    assert_eq!(mask.dtype(), dtype);
                    let (tokens, read) = pass.mask_shape();
                    assert_eq!(mask.shape(), [tokens as i32, read as i32]);
                    mask.to_vec_cast::<f32>().unwrap()
                });
                assert_eq!(mask, case.additive(), "{pass:?}");
            }
        }
    }
}
