//! Rotary position embeddings.

use std::ops::Range;

use candle_core::{Result, Tensor};
use mlxbench_core::gemma::{AttentionSpec, parts, rope};

use crate::framework::{Candle, Place};

/// Cosines and sines of a range of positions.
#[derive(Debug)]
pub struct Rope {
    /// Shape `[positions, head_dim / 2]`.
    pub(crate) cos: Tensor,
    /// Shape `[positions, head_dim / 2]`.
    pub(crate) sin: Tensor,
}

impl parts::Rope<Candle> for Rope {
    /// Formed in f32 and rounded to the model's dtype.
    fn new(attention: &AttentionSpec, positions: usize, place: &Place) -> Result<Self> {
        let tables = rope::tables(attention, 0..positions);
        let shape = (positions, attention.head_dim / 2);
        let tensor = |table| Tensor::from_vec(table, shape, &place.device)?.to_dtype(place.dtype);
        Ok(Self {
            cos: tensor(tables.cos)?,
            sin: tensor(tables.sin)?,
        })
    }

    fn at(&self, positions: Range<usize>) -> Result<Self> {
        let rows = |table: &Tensor| table.narrow(0, positions.start, positions.len());
        Ok(Self {
            cos: rows(&self.cos)?,
            sin: rows(&self.sin)?,
        })
    }

    /// `x` must be contiguous.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::rotary_emb::rope(x, &self.cos, &self.sin)
    }
}
