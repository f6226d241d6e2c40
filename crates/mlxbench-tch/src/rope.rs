//! Rotary position embeddings.

use std::ops::Range;

use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::{LayerKind, rope};
use tch::{Device, Kind, TchError, Tensor};

/// Cosines and sines of a range of positions, for layers of one kind.
#[derive(Debug)]
pub(crate) struct Rope {
    /// Shape `[positions, head_dim]`: the halves are alike.
    cos: Tensor,
    /// Shape `[positions, head_dim]`: the first half is negative.
    sin: Tensor,
}

impl Rope {
    /// The tables of the first `positions` positions, formed in f32 on the host and rounded to
    /// `dtype`.
    pub(crate) fn new(
        config: &GemmaConfig,
        kind: LayerKind,
        positions: usize,
        dtype: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let tables = rope::tables(config, kind, 0..positions);
        let half = [positions as i64, (config.head_dim / 2) as i64];
        let tensor = |table: &[f32]| Tensor::f_from_slice(table)?.f_view(half);
        let whole = |first: Tensor, second: Tensor| {
            Tensor::f_cat(&[first, second], -1)?
                .f_to_device(device)?
                .f_to_kind(dtype)
        };
        let (cos, sin) = (tensor(&tables.cos)?, tensor(&tables.sin)?);
        Ok(Self {
            cos: whole(cos.shallow_clone(), cos)?,
            sin: whole(sin.f_neg()?, sin)?,
        })
    }

    /// The tables of `positions` only.
    pub(crate) fn at(&self, positions: Range<usize>) -> Result<Self, TchError> {
        let rows =
            |table: &Tensor| table.f_narrow(0, positions.start as i64, positions.len() as i64);
        Ok(Self {
            cos: rows(&self.cos)?,
            sin: rows(&self.sin)?,
        })
    }

    /// Rotates the halves of each head of `x`, of shape `[batch, heads, positions, head_dim]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let swapped = x.f_roll([self.cos.size()[1] / 2], [3])?;
        x.f_mul(&self.cos)?.f_addcmul_(&swapped, &self.sin)
    }
}
