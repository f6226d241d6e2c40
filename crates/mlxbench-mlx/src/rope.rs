//! Rotary position embeddings.

use std::ops::Range;

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast;
use mlxbench_core::gemma::{AttentionSpec, parts};

use crate::framework::{Mlx, Place};

/// The rotation of tokens from one position on.
#[derive(Debug)]
pub struct Rope {
    head_dim: i32,
    theta: f32,
    /// What positions are multiplied by: linear RoPE scaling.
    scale: f32,
    /// A scalar in i32, one for all layers of a pass.
    start: Array,
}

impl parts::Rope<Mlx> for Rope {
    fn new(attention: &AttentionSpec, _positions: usize, _place: &Place) -> Result<Self> {
        Ok(Self {
            head_dim: attention.head_dim as i32,
            theta: attention.rope.theta as f32,
            scale: (1.0 / attention.rope.linear_factor) as f32,
            start: Array::from_int(0),
        })
    }

    fn at(&self, positions: Range<usize>) -> Result<Self> {
        Ok(Self {
            start: Array::from_int(positions.start as i32),
            ..*self
        })
    }

    /// MLX forms the angles in f32.
    fn forward(&self, x: &Array) -> Result<Array> {
        let (theta, scale) = (self.theta, self.scale);
        fast::rope_dynamic(x, self.head_dim, false, theta, scale, &self.start, None)
    }
}
