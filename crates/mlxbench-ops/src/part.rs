//! The parts of a pass.

use std::fmt;

use mlxbench_core::gemma::{LayerKind, LayerSpec};

/// A part of a pass, as all adapters cut it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An RMSNorm over the residual stream.
    Norm,
    /// The projection to queries, keys and values, split into heads.
    Qkv,
    /// The norms of queries and keys (Gemma 3).
    QkNorm,
    /// The rotation of queries and keys.
    Rope,
    /// Attention proper in a layer of this kind: the KV cache's update, scores, softmax, mix.
    Attention(LayerKind),
    /// The projection of attention's output.
    Output,
    /// The MLP's gate and up projection.
    GateUp,
    /// The MLP's activation and gating.
    Geglu,
    /// The MLP's down projection.
    Down,
    /// The end of a pass, on the last position: norm, output projection, soft-cap, argmax.
    LmHead,
    /// A whole layer of this kind.
    Layer(LayerKind),
}

impl Part {
    /// Every part, in the order of a pass; whole layers come last.
    pub const ALL: [Self; 13] = [
        Self::Norm,
        Self::Qkv,
        Self::QkNorm,
        Self::Rope,
        Self::Attention(LayerKind::Local),
        Self::Attention(LayerKind::Global),
        Self::Output,
        Self::GateUp,
        Self::Geglu,
        Self::Down,
        Self::LmHead,
        Self::Layer(LayerKind::Local),
        Self::Layer(LayerKind::Global),
    ];

    /// How often it occurs in `layer`; a whole layer occurs in itself once.
    pub(crate) fn occurrences_in(self, layer: &LayerSpec) -> usize {
        match self {
            Self::Norm => layer.norms.of_residual(),
            Self::QkNorm => layer.norms.queries_keys.is_some().into(),
            Self::Attention(of) | Self::Layer(of) => (of == layer.attention.kind).into(),
            Self::LmHead => 0,
            Self::Qkv | Self::Rope | Self::Output | Self::GateUp | Self::Geglu | Self::Down => 1,
        }
    }

    /// Whether it is made of other parts of the list.
    pub fn is_composite(self) -> bool {
        matches!(self, Self::Layer(_))
    }

    /// Whether it depends on the tokens before: their number or their keys and values.
    pub fn has_context(self) -> bool {
        matches!(self, Self::Rope | Self::Attention(_) | Self::Layer(_))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Norm => "RMSNorm",
            Self::Qkv => "qkv product",
            Self::QkNorm => "QK-norm",
            Self::Rope => "RoPE",
            Self::Attention(LayerKind::Local) => "attention (local)",
            Self::Attention(LayerKind::Global) => "attention (global)",
            Self::Output => "o product",
            Self::GateUp => "gate_up product",
            Self::Geglu => "GeGLU",
            Self::Down => "down product",
            Self::LmHead => "lm_head",
            Self::Layer(LayerKind::Local) => "layer (local)",
            Self::Layer(LayerKind::Global) => "layer (global)",
        };
        f.pad(name)
    }
}
