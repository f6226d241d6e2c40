//! Rotary position embeddings.

use std::ops::Range;

use mlxbench_core::gemma::{AttentionSpec, parts, rope};
use tch::{TchError, Tensor};

use crate::framework::{Place, Torch};

/// Cosines and sines of a range of positions.
#[derive(Debug)]
pub struct Rope {
    /// Shape `[positions, head_dim]`: the halves are alike.
    cos: Tensor,
    /// Shape `[positions, head_dim]`: the first half is negative.
    sin: Tensor,
}

impl parts::Rope<Torch> for Rope {
    /// Formed in f32 on the host and rounded to the model's dtype.
    fn new(attention: &AttentionSpec, positions: usize, place: &Place) -> Result<Self, TchError> {
        let tables = rope::tables(attention, 0..positions);
        let half = [positions as i64, (attention.head_dim / 2) as i64];
        let tensor = |table: &[f32]| Tensor::f_from_slice(table)?.f_view(half);
        let whole = |first: Tensor, second: Tensor| {
            Tensor::f_cat(&[first, second], -1)?
                .f_to_device(place.device)?
                .f_to_kind(place.dtype)
        };
        let (cos, sin) = (tensor(&tables.cos)?, tensor(&tables.sin)?);
        Ok(Self {
            cos: whole(cos.shallow_clone(), cos)?,
            sin: whole(sin.f_neg()?, sin)?,
        })
    }

    fn at(&self, positions: Range<usize>) -> Result<Self, TchError> {
        let rows =
            |table: &Tensor| table.f_narrow(0, positions.start as i64, positions.len() as i64);
        Ok(Self {
            cos: rows(&self.cos)?,
            sin: rows(&self.sin)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let swapped = x.f_roll([self.cos.size()[1] / 2], [3])?;
        x.f_mul(&self.cos)?.f_addcmul_(&swapped, &self.sin)
    }
}
