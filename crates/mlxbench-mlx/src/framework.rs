//! MLX as the layers see it. What it is asked for goes to the current stream.

use mlx_rs::error::{Exception, Result};
use mlx_rs::{Array, Dtype};
use mlxbench_core::Error;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Framework;
use mlxbench_core::gemma::pass::{self, Pass};

use crate::attention::{Attention, Mask};
use crate::backend;
use crate::cache::KvCache;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
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

    fn error(error: Exception) -> Error {
        backend::framework(error)
    }

    fn share(tensor: &Array) -> Array {
        tensor.clone()
    }

    fn add(x: Array, y: Array) -> Result<Array> {
        x.add(y)
    }

    fn mask(pass: &Pass, attention: &AttentionSpec, place: &Place) -> Result<Mask> {
        // Only MLX's own attention, which has no soft-cap, knows causal masks.
        if pass.mask == pass::Mask::Causal && attention.softcap.is_none() {
            return Ok(Mask::Causal);
        }
        let Some(mask) = pass.additive_mask() else {
            return Ok(Mask::None);
        };
        let (tokens, read) = pass.mask_shape();
        let mask = Array::from_slice(&mask, &[tokens as i32, read as i32]);
        Ok(Mask::Additive(mask.as_dtype(place.dtype)?))
    }
}
