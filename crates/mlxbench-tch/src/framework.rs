//! libtorch as the layers see it.

use mlxbench_core::Error;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Framework;
use mlxbench_core::gemma::pass::Pass;
use tch::{Device, Kind, TchError, Tensor};

use crate::attention::{self, Attention};
use crate::backend;
use crate::cache::KvCache;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;
use crate::weights::Weights;

/// libtorch.
#[derive(Debug)]
pub enum Torch {}

/// A device and a dtype.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub(crate) device: Device,
    pub(crate) dtype: Kind,
}

impl Framework for Torch {
    type Tensor = Tensor;
    type Error = TchError;
    type Place = Place;
    type Weights<'a> = Weights<'a>;
    type Norm = RmsNorm;
    type Rope = Rope;
    /// Of shape `[group * tokens, read]`, in the model's dtype for fused attention and in f32 else;
    /// `None` for a single token, which sees all that is read.
    type Mask = Option<Tensor>;
    type Cache = KvCache;
    type Attention = Attention;
    type Mlp = Mlp;

    fn error(error: TchError) -> Error {
        backend::framework(error)
    }

    fn share(tensor: &Tensor) -> Tensor {
        tensor.shallow_clone()
    }

    fn add(x: Tensor, mut y: Tensor) -> Result<Tensor, TchError> {
        y.f_add_(&x)
    }

    fn mask(
        pass: &Pass,
        attention: &AttentionSpec,
        place: &Place,
    ) -> Result<Option<Tensor>, TchError> {
        let (tokens, read) = pass.mask_shape();
        let dtype = match attention::is_fused(attention, place.device) {
            true => place.dtype,
            false => Kind::Float,
        };
        let mask = pass.additive_mask().map(|mask| {
            Tensor::f_from_slice(&mask)?
                .f_view([tokens as i64, read as i64])?
                .f_to_kind(dtype)?
                .f_to_device(place.device)?
                .f_repeat([attention.queries_per_kv() as i64, 1])
        });
        mask.transpose()
    }
}
