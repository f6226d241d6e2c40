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
    /// The base of the frequencies; `None` where `periods` has them all.
    theta: Option<f32>,
    /// Positions in a radian, of shape `[head_dim / 2]` in f32: infinite where nothing is rotated.
    periods: Option<Array>,
    /// What positions are multiplied by: linear RoPE scaling.
    scale: f32,
    /// A scalar in i32, one for all layers of a pass.
    start: Array,
}

impl parts::Rope<Mlx> for Rope {
    fn new(attention: &AttentionSpec, _positions: usize, _place: &Place) -> Result<Self> {
        let spec = &attention.rope;
        let head_dim = attention.head_dim as i32;
        let periods = (spec.rotated < 1.0).then(|| {
            let frequencies = rope::inverse_frequencies(attention);
            let periods: Vec<f32> = frequencies.iter().map(|x| x.recip()).collect();
            Array::from_slice(&periods, &[head_dim / 2])
        });
        Ok(Self {
            head_dim,
            theta: periods.is_none().then_some(spec.theta as f32),
            scale: match periods {
                Some(_) => 1.0,
                None => (1.0 / spec.linear_factor) as f32,
            },
            periods,
            start: Array::from_int(0),
        })
    }

    fn at(&self, positions: Range<usize>) -> Result<Self> {
        Ok(Self {
            start: Array::from_int(positions.start as i32),
            periods: self.periods.clone(),
            ..*self
        })
    }

    /// MLX forms the angles in f32.
    fn forward(&self, x: &Array) -> Result<Array> {
        let (theta, scale) = (self.theta, self.scale);
        let (start, periods) = (&self.start, self.periods.as_ref());
        fast::rope_dynamic(x, self.head_dim, false, theta, scale, start, periods)
    }
}
