//! A part in a phase: the list of ops, their shapes, how often they occur.

use std::fmt;

use mlxbench_core::backend::ContextShape;
use mlxbench_core::gemma::LayerSpec;
use mlxbench_core::{Error, GemmaConfig, Result, TokenBatch, TokenId};
use serde::{Deserialize, Serialize};

use crate::Part;

/// How many tokens ops are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of a prefill.
    pub prefill_tokens: usize,
    /// Tokens in the cache before a decode step.
    pub decode_depth: usize,
}

impl Default for Workload {
    /// The prefill of 512 tokens, `pp512`, and the step after it.
    fn default() -> Self {
        Self {
            prefill_tokens: 512,
            decode_depth: 512,
        }
    }
}

/// What a pass does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Appends a prompt to an empty cache.
    Prefill,
    /// Appends one token.
    Decode,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        })
    }
}

/// A part of a pass over one row of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Which part.
    pub part: Part,
    /// In which kind of pass.
    pub phase: Phase,
    /// Tokens that the pass appends.
    pub tokens: usize,
    /// Tokens in the cache before it.
    pub depth: usize,
}

impl Op {
    /// Whether ops can be told of a model: they cut layers into the parts of Gemma 1 to 3, and take the first layer
    /// for all.
    ///
    /// # Errors
    /// When layers differ in more than what they see, or have other parts.
    pub fn check(config: &GemmaConfig) -> Result<()> {
        let shapes = |layer: &LayerSpec| {
            let attention = &layer.attention;
            let widths = [
                attention.heads,
                attention.kv_heads,
                attention.head_dim,
                layer.mlp_width,
            ];
            (attention.keys_values, widths)
        };
        let first = config.layers.first().map(shapes);
        let is_known = |layer: &LayerSpec| {
            let more = layer.experts.is_some() || layer.per_layer_input.is_some();
            !more && layer.scalar.is_none() && Some(shapes(layer)) == first
        };
        match config.layers.iter().all(is_known) {
            true => Ok(()),
            false => Err(Error::Unsupported(format!(
                "ops are measured of models whose layers are all alike in their shapes and of the parts that Gemma 1 \
                 to 3 have: {} isn't one",
                config.generation.name()
            ))),
        }
    }

    /// Every op of a model, prefill first, in the order of a pass; whole layers come last.
    pub fn all(config: &GemmaConfig, workload: &Workload) -> Vec<Self> {
        let phases = [
            (Phase::Prefill, workload.prefill_tokens, 0),
            (Phase::Decode, 1, workload.decode_depth),
        ];
        let of_phase = |(phase, tokens, depth)| {
            Part::ALL.map(|part| Self {
                part,
                phase,
                tokens,
                depth,
            })
        };
        let ops = phases.into_iter().flat_map(of_phase);
        ops.filter(|op| op.occurrences(config) > 0).collect()
    }

    /// Its name within the phase: `attention (local) @ d512`.
    pub fn name(&self) -> String {
        match self.depth {
            1.. if self.part.has_context() => format!("{} @ d{}", self.part, self.depth),
            _ => self.part.to_string(),
        }
    }

    /// How often one pass of its phase runs it.
    pub fn occurrences(&self, config: &GemmaConfig) -> usize {
        let layers = config.layers.iter();
        match self.part {
            Part::LmHead => 1,
            part => layers.map(|layer| part.occurrences_in(layer)).sum(),
        }
    }

    /// The layers that it occurs in, whose weights take turns; none for the end of a pass.
    pub fn layers(&self, config: &GemmaConfig) -> Vec<usize> {
        let layers = config.layers.iter().enumerate();
        layers
            .filter(|(_, layer)| self.part.occurrences_in(layer) > 0)
            .map(|(index, _)| index)
            .collect()
    }

    /// The first of [`Op::layers`], or of all for the end of a pass: the ones that an op occurs in are
    /// alike in their shapes.
    pub fn first_layer<'a>(&self, config: &'a GemmaConfig) -> Option<(usize, &'a LayerSpec)> {
        let index = self.layers(config).first().copied().unwrap_or_default();
        Some((index, config.layers.get(index)?))
    }

    /// Columns of what goes in, of shape `[1, tokens, columns]`. Parts between the projections of
    /// an attention get what those before them make of it.
    pub fn input_width(&self, config: &GemmaConfig) -> usize {
        match (self.part, self.first_layer(config)) {
            (Part::Output, Some((_, layer))) => layer.attention.query_width(),
            (Part::Geglu, Some((_, layer))) => 2 * layer.mlp_width,
            (Part::Down, Some((_, layer))) => layer.mlp_width,
            _ => config.hidden_size,
        }
    }

    /// The KV cache to make for it.
    pub fn context(&self) -> ContextShape {
        ContextShape {
            batch: 1,
            capacity: self.depth + self.tokens,
            chunk: self.depth.max(self.tokens),
        }
    }

    /// The tokens to have in the cache before it; `None` when it starts empty.
    pub fn history(&self, config: &GemmaConfig) -> Option<TokenBatch> {
        let ids = (0..self.depth).map(|index| (index % config.vocab_size) as TokenId);
        (self.depth > 0).then(|| TokenBatch::row(ids.collect()))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.phase, self.name())
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::{LayerKind, preset};

    use super::*;

    fn ops(name: &str) -> (GemmaConfig, Vec<Op>) {
        let config = preset(name).unwrap().config();
        let ops = Op::all(&config, &Workload::default());
        (config, ops)
    }

    #[test]
    fn the_list_follows_a_pass() {
        let (config, ops) = ops("gemma-3-270m");
        let decode = ops.iter().filter(|op| op.phase == Phase::Decode);
        let lines = decode.map(|op| format!("{} x {op}", op.occurrences(&config)));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                "72 x decode/RMSNorm",
                "18 x decode/qkv product",
                "18 x decode/QK-norm",
                "18 x decode/RoPE @ d512",
                "15 x decode/attention (local) @ d512",
                "3 x decode/attention (global) @ d512",
                "18 x decode/o product",
                "18 x decode/gate_up product",
                "18 x decode/GeGLU",
                "18 x decode/down product",
                "1 x decode/lm_head",
                "15 x decode/layer (local) @ d512",
                "3 x decode/layer (global) @ d512",
            ]
        );
    }

    #[test]
    fn gemma_1_has_neither_local_layers_nor_norms_of_queries_and_keys() {
        let (config, ops) = ops("gemma-2b");
        let of = |part: Part| ops.iter().filter(|op| op.part == part).count();
        assert_eq!(of(Part::Attention(LayerKind::Local)) + of(Part::QkNorm), 0);
        assert_eq!(of(Part::Attention(LayerKind::Global)), 2);
        assert_eq!(ops[0].occurrences(&config), 36);
    }

    #[test]
    fn layers_take_turns_where_an_op_occurs() {
        let (config, ops) = ops("gemma-3-270m");
        let layers = |part| {
            let op = ops.iter().find(|op| op.part == part).unwrap();
            op.layers(&config)
        };
        assert_eq!(layers(Part::Attention(LayerKind::Global)), [5, 11, 17]);
        assert_eq!(layers(Part::Layer(LayerKind::Local)).len(), 15);
        assert_eq!(layers(Part::Down), Vec::from_iter(0..18));
        assert!(layers(Part::LmHead).is_empty());
    }
}
