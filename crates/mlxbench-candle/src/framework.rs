//! candle as the layers see it.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use mlxbench_core::Error;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Framework;
use mlxbench_core::gemma::pass::{self, Pass};

use crate::attention::{Attention, is_fused};
use crate::cache::KvCache;
use crate::experts::Experts;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerInput;
use crate::rope::Rope;
use crate::weights::Weights;

/// candle.
#[derive(Debug)]
pub enum Candle {}

/// A device and a dtype, and what is there for all passes.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    /// 0, 1, 2 ... in f32, as many as there may be positions: candle counts on the host, so once.
    pub(crate) positions: Tensor,
}

impl Place {
    pub(crate) fn new(
        device: &Device,
        dtype: DType,
        positions: usize,
    ) -> candle_core::Result<Self> {
        Ok(Self {
            device: device.clone(),
            dtype,
            positions: Tensor::arange(0, positions as u32, device)?.to_dtype(DType::F32)?,
        })
    }
}

impl Framework for Candle {
    type Tensor = Tensor;
    type Error = candle_core::Error;
    type Place = Place;
    type Weights<'a> = Weights<'a>;
    type Norm = RmsNorm;
    type Rope = Rope;
    /// Numbers to add to scores, of shape `[tokens, read]`, in the dtype that attention takes; `None` for
    /// a single token, which sees all that is read.
    type Mask = Option<Tensor>;
    type Cache = KvCache;
    type Attention = Attention;
    type Mlp = Mlp;
    type Experts = Experts;
    type PerLayerInput = PerLayerInput;
    type Scalar = f64;

    fn error(error: candle_core::Error) -> Error {
        Error::framework(error)
    }

    fn share(tensor: &Tensor) -> Tensor {
        tensor.clone()
    }

    fn add(x: Tensor, y: Tensor) -> candle_core::Result<Tensor> {
        x + y
    }

    fn scalar(weights: &Weights<'_>, name: &str) -> candle_core::Result<f64> {
        weights.number(name)
    }

    fn scale(x: Tensor, by: &f64) -> candle_core::Result<Tensor> {
        x * *by
    }

    fn mask(
        pass: &Pass,
        attention: &AttentionSpec,
        place: &Place,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(mask) = mask_in_f32(pass, place)? else {
            return Ok(None);
        };
        let (location, tokens) = (place.device.location(), pass.positions.len());
        match is_fused(location, place.dtype, tokens, attention) {
            true => mask.to_dtype(place.dtype).map(Some),
            false => Ok(Some(mask)),
        }
    }
}

/// The mask of a pass in f32, as attention in separate steps takes it.
pub(crate) fn mask_in_f32(pass: &Pass, place: &Place) -> candle_core::Result<Option<Tensor>> {
    let window = match pass.mask {
        pass::Mask::None => return Ok(None),
        pass::Mask::Causal => None,
        pass::Mask::Windowed(window) => Some(window),
    };
    additive(pass, window, &place.positions).map(Some)
}

/// 0 where a new token sees an entry that is read, minus infinity elsewhere, in f32. Shape
/// `[tokens, read]`, made on the device from the table of its positions.
fn additive(pass: &Pass, window: Option<usize>, positions: &Tensor) -> candle_core::Result<Tensor> {
    let of = |range: Range<usize>| positions.narrow(0, range.start, range.len());
    let tokens = of(pass.positions.clone())?.unsqueeze(1)?;
    let entries = of(pass.read_positions())?.unsqueeze(0)?;
    let shape = pass.mask_shape();
    let everywhere = |value: f32| Tensor::new(value, positions.device())?.broadcast_as(shape);
    let (seen, hidden) = (everywhere(0.0)?, everywhere(f32::NEG_INFINITY)?);
    let mask = entries.broadcast_le(&tokens)?.where_cond(&seen, &hidden)?;
    match window {
        Some(window) => {
            let end = (entries + window as f64)?;
            tokens.broadcast_lt(&end)?.where_cond(&mask, &hidden)
        }
        None => Ok(mask),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_conformance::masks;
    use mlxbench_core::gemma::preset;

    use super::*;

    #[test]
    fn masks_are_those_written_out_by_hand() {
        let place = Place::new(&Device::Cpu, DType::BF16, 101).unwrap();
        let attention = &preset("gemma-3-270m").unwrap().config().layers[0].attention;
        for case in masks::cases() {
            let mask = Candle::mask(&case.pass, attention, &place);
            let mask = mask.unwrap().unwrap();
            assert_eq!(mask.dims2().unwrap(), case.pass.mask_shape());
            let mask = mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(mask, case.additive(), "{:?}", case.pass);
        }
    }

    #[test]
    fn a_single_token_needs_no_mask() {
        let place = Place::new(&Device::Cpu, DType::F32, 8).unwrap();
        let attention = &preset("gemma-3-270m").unwrap().config().layers[0].attention;
        let [mut case, ..] = masks::cases();
        case.pass.mask = pass::Mask::None;
        assert!(
            Candle::mask(&case.pass, attention, &place)
                .unwrap()
                .is_none()
        );
    }
}
