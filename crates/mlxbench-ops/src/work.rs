//! Operations and bytes of an op, counted as core counts those of a pass.

use mlxbench_core::gemma::{LayerKind, LayerSpec};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{GemmaConfig, Precision};

use crate::{Op, Part};

impl Op {
    /// The product with a weight matrix that it is, if it is one; the adapter may do it in several.
    pub fn product(&self, config: &GemmaConfig) -> Option<ProductShape> {
        let (_, layer) = self.first_layer(config)?;
        let name = match self.part {
            Part::Qkv => "qkv",
            Part::Output => "o",
            Part::GateUp => "gate_up",
            Part::Down => "down",
            Part::LmHead => return Some(config.lm_head(1)),
            _ => return None,
        };
        let products = layer.products(config.hidden_size, self.tokens);
        let mut named = products.into_iter().filter(|(part, _)| *part == name);
        named.next().map(|(_, shape)| shape)
    }

    /// Multiplications and additions of its matrix products in one run: with weights, and
    /// attention's two over the positions that each token sees.
    pub fn operations(&self, config: &GemmaConfig) -> u64 {
        match self.part {
            Part::Attention(_) => self.first_layer(config).map_or(0, |(_, layer)| {
                let contexts = self.depth + 1..=self.depth + self.tokens;
                let seen = contexts.map(|context| layer.attention.seen(context) as u64);
                2 * 2 * layer.attention.query_width() as u64 * seen.sum::<u64>()
            }),
            Part::Layer(kind) => self.sum(config, kind, |op| op.operations(config)),
            _ => self.product(config).map_or(0, |shape| shape.operations()),
        }
    }

    /// Bytes that one run reads and writes at least in `precision`: weights, keys and values that the
    /// tokens see, theirs, written. What goes in and comes out isn't counted.
    pub fn bytes(&self, config: &GemmaConfig, precision: Precision) -> u64 {
        let matrix = self.product(config).map_or(0, |shape| {
            let format = match self.part {
                Part::LmHead => precision.table(),
                _ => precision.weights(),
            };
            format.matrix_bytes(shape.out_features as u64, shape.in_features as u64)
        });
        match self.part {
            Part::Layer(kind) => self.sum(config, kind, |op| op.bytes(config, precision)),
            _ => matrix + self.other_elements(config) * precision.compute().size_bytes(),
        }
    }

    /// The elements that [`Op::bytes`] counts beside the matrix: the cache is in the dtype of norms and
    /// biases.
    fn other_elements(&self, config: &GemmaConfig) -> u64 {
        let product = self.product(config);
        let Some((_, LayerSpec { attention, .. })) = self.first_layer(config) else {
            return 0;
        };
        match self.part {
            Part::Norm | Part::LmHead => config.hidden_size as u64,
            Part::QkNorm => 2 * attention.head_dim as u64,
            Part::Qkv | Part::Output if attention.bias => {
                product.map_or(0, |shape| shape.out_features as u64)
            }
            Part::Attention(_) => {
                let all = self.depth + self.tokens;
                let read = attention
                    .window
                    .map_or(all, |window| all.min(window + self.tokens - 1));
                attention.position_elements() * (read + self.tokens) as u64
            }
            _ => 0,
        }
    }

    /// `of` its parts, where it is a layer of `kind`.
    fn sum(&self, config: &GemmaConfig, kind: LayerKind, of: impl Fn(&Self) -> u64) -> u64 {
        let mut layers = config.layers.iter();
        let Some(layer) = layers.find(|layer| layer.attention.kind == kind) else {
            return 0;
        };
        let parts = Part::ALL.into_iter().filter(|part| !part.is_composite());
        parts
            .map(|part| (part, part.occurrences_in(layer)))
            .filter(|(_, count)| *count > 0)
            .map(|(part, count)| count as u64 * of(&Self { part, ..*self }))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::{FlatConfig, PRESETS};

    use super::*;
    use crate::{Phase, Workload};

    /// Every preset, and each with biases and an output projection of its own.
    fn configs() -> Vec<GemmaConfig> {
        let plain = PRESETS.iter().map(|preset| preset.config());
        let plain = plain.filter(|config| Op::check(config).is_ok());
        let other = |config: GemmaConfig| {
            let biased = FlatConfig {
                attention_bias: true,
                tie_word_embeddings: false,
                ..config.flat().unwrap()
            };
            GemmaConfig::from(biased)
        };
        plain.clone().chain(plain.map(other)).collect()
    }

    /// `of` each op of `phase` that is (or isn't) a whole layer or the end of a pass.
    fn total(config: &GemmaConfig, phase: Phase, layers: bool, of: impl Fn(&Op) -> u64) -> u64 {
        let ops = Op::all(config, &Workload::default()).into_iter();
        ops.filter(|op| op.phase == phase)
            .filter(|op| op.part == Part::LmHead || op.part.is_composite() == layers)
            .map(|op| op.occurrences(config) as u64 * of(&op))
            .sum()
    }

    #[test]
    fn products_hold_all_weights_but_norms_and_biases() {
        for config in configs() {
            let tensors = config.tensors().into_iter();
            let matrices = tensors.filter(|tensor| tensor.shape.len() == 2);
            let weights: u64 = matrices.map(|tensor| tensor.elements()).sum();
            let looked_up = match config.tie_word_embeddings {
                true => 0,
                false => (config.vocab_size * config.hidden_size) as u64,
            };
            for phase in [Phase::Prefill, Phase::Decode] {
                let of_op = |op: &Op| op.product(&config).map_or(0, |shape| shape.elements());
                assert_eq!(total(&config, phase, false, of_op), weights - looked_up);
            }
        }
    }

    #[test]
    fn bytes_of_a_decode_step_add_up() {
        for config in configs() {
            for precision in Precision::ALL {
                let step = config.decode_step_bytes(&config.storage(precision), 1, 512);
                // The lookup of the token's embedding is no op.
                let line = precision.table().matrix_bytes(1, config.hidden_size as u64);
                let of_op = |op: &Op| op.bytes(&config, precision);
                for layers in [false, true] {
                    let ops = total(&config, Phase::Decode, layers, of_op);
                    assert_eq!(ops, step - line, "{precision}");
                }
            }
        }
    }

    #[test]
    fn operations_of_a_prefill_add_up() {
        for config in configs() {
            let prefill = config.prefill_operations(1, 0, 512, 512);
            let of_op = |op: &Op| op.operations(&config);
            assert_eq!(total(&config, Phase::Prefill, false, of_op), prefill);
            assert_eq!(total(&config, Phase::Prefill, true, of_op), prefill);
        }
    }
}
