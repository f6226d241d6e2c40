//! Rotary position embeddings.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::fast;
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::LayerKind;

/// The rotation of tokens from one position on, for layers of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rope {
    head_dim: i32,
    theta: f32,
    /// What positions are multiplied by: linear RoPE scaling.
    scale: f32,
    start: i32,
}

impl Rope {
    /// The rotation from position 0 on.
    pub(crate) fn new(config: &GemmaConfig, kind: LayerKind) -> Self {
        let (theta, factor) = config.rope(kind);
        Self {
            head_dim: config.head_dim as i32,
            theta: theta as f32,
            scale: (1.0 / factor) as f32,
            start: 0,
        }
    }

    /// The rotation from position `start` on.
    pub(crate) fn at(&self, start: usize) -> Self {
        Self {
            start: start as i32,
            ..*self
        }
    }

    /// Rotates the halves of each head of `x`, of shape `[batch, heads, positions, head_dim]`. MLX
    /// forms the angles in f32.
    pub(crate) fn forward(&self, x: &Array) -> Result<Array> {
        fast::rope(
            x,
            self.head_dim,
            false,
            self.theta,
            self.scale,
            self.start,
            None,
        )
    }
}
