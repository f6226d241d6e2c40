//! candle as the layers see it.

use candle_core::{DType, Device, Tensor};
use mlxbench_core::Error;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Framework;
use mlxbench_core::gemma::pass::Pass;

use crate::attention::Attention;
use crate::cache::KvCache;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;
use crate::weights::Weights;

/// candle.
#[derive(Debug)]
pub enum Candle {}

/// A device and a dtype.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) device: Device,
    pub(crate) dtype: DType,
}

impl Framework for Candle {
    type Tensor = Tensor;
    type Error = candle_core::Error;
    type Place = Place;
    type Weights<'a> = Weights<'a>;
    type Norm = RmsNorm;
    type Rope = Rope;
    /// In f32, of shape `[tokens, read]`; `None` for a single token, which sees all that is read.
    type Mask = Option<Tensor>;
    type Cache = KvCache;
    type Attention = Attention;
    type Mlp = Mlp;

    fn error(error: candle_core::Error) -> Error {
        Error::framework(error)
    }

    fn share(tensor: &Tensor) -> Tensor {
        tensor.clone()
    }

    fn add(x: Tensor, y: Tensor) -> candle_core::Result<Tensor> {
        x + y
    }

    fn mask(
        pass: &Pass,
        _attention: &AttentionSpec,
        place: &Place,
    ) -> candle_core::Result<Option<Tensor>> {
        let mask = pass.additive_mask();
        mask.map(|mask| Tensor::from_vec(mask, pass.mask_shape(), &place.device))
            .transpose()
    }
}
