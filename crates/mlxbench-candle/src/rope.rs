//! Rotary position embeddings.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::{LayerKind, rope};

/// Cosines and sines of a range of positions, for layers of one kind.
#[derive(Debug)]
pub(crate) struct Rope {
    /// Shape `[positions, head_dim / 2]`.
    cos: Tensor,
    /// Shape `[positions, head_dim / 2]`.
    sin: Tensor,
}

impl Rope {
    /// The tables of the first `positions` positions, formed in f32 and rounded to `dtype`.
    pub(crate) fn new(
        config: &GemmaConfig,
        kind: LayerKind,
        positions: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let tables = rope::tables(config, kind, 0..positions);
        let tensor = |table: Vec<f32>| {
            Tensor::from_vec(table, (positions, config.head_dim / 2), device)?.to_dtype(dtype)
        };
        Ok(Self {
            cos: tensor(tables.cos)?,
            sin: tensor(tables.sin)?,
        })
    }

    /// The tables of `positions` only.
    pub(crate) fn at(&self, positions: Range<usize>) -> Result<Self> {
        let rows = |table: &Tensor| table.narrow(0, positions.start, positions.len());
        Ok(Self {
            cos: rows(&self.cos)?,
            sin: rows(&self.sin)?,
        })
    }

    /// Rotates the halves of each head of `x`, of shape `[batch, heads, positions, head_dim]` and
    /// contiguous.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::rotary_emb::rope(x, &self.cos, &self.sin)
    }
}
