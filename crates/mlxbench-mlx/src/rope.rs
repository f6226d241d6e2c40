//! Rotary position embeddings.

use std::ops::Range;

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast;
use mlxbench_core::gemma::{AttentionSpec, parts, rope};

use crate::framework::{Mlx, Place};

/// The rotation of tokens from one position on.
#[derive(Debug)]
pub struct Rope {
    head_dim: i32,
    /// Positions in a radian, of shape `[head_dim / 2]` in f32. From a base alone MLX forms frequencies by
    /// an exponential, which at position 282 was seen to make a difference of 3e-4 in logits.
    periods: Array,
    /// A scalar in i32, one for all layers of a pass.
    start: Array,
}

impl parts::Rope<Mlx> for Rope {
    fn new(attention: &AttentionSpec, _positions: usize, _place: &Place) -> Result<Self> {
        let head_dim = attention.head_dim as i32;
        Ok(Self {
            head_dim,
            periods: Array::from_slice(&rope::periods(attention), &[head_dim / 2]),
            start: Array::from_int(0),
        })
    }

    fn at(&self, positions: Range<usize>) -> Result<Self> {
        Ok(Self {
            head_dim: self.head_dim,
            periods: self.periods.clone(),
            start: Array::from_int(positions.start as i32),
        })
    }

    /// MLX forms the angles in f32.
    fn forward(&self, x: &Array) -> Result<Array> {
        let (start, periods) = (&self.start, Some(&self.periods));
        fast::rope_dynamic(x, self.head_dim, false, None, 1.0, start, periods)
    }
}
