//! Bytes of a model's tensors in a precision, counted tensor by tensor, and as a framework keeps them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gemma::TensorSpec;
use crate::gemma::tensors::PER_LAYER_TABLE;
use crate::{Dtype, GemmaConfig, Precision};

/// Whether the tensor called `name` has a row for each token of the vocabulary: the embedding table or an
/// output projection of its own.
fn is_table(name: &str) -> bool {
    ["model.embed_tokens.weight", "lm_head.weight"].contains(&name)
}

/// Whether the tensor called `name` is quantised to 8 bits at least: tables, and routers, whose rounding would
/// send tokens to other experts.
pub(crate) fn has_8_bits(name: &str) -> bool {
    is_table(name) || name == PER_LAYER_TABLE || name.ends_with(".router.proj.weight")
}

/// How a model's numbers are kept on its device: what a worker says of a model that it has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Storage {
    /// Bytes of the matrices of layers, scales and padding included.
    pub layers_bytes: u64,
    /// Bytes of the embedding table and, where it is one of its own, the output projection.
    pub tables_bytes: u64,
    /// Bytes of all other weights: norms and biases, which are never quantised.
    pub others_bytes: u64,
    /// Of `layers_bytes`, those of experts, of which a token needs some only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub experts_bytes: u64,
    /// Bytes of the table of embeddings for each layer, of which a token needs one row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub per_layer_bytes: u64,
    /// The dtype of keys and values.
    pub kv_cache: Dtype,
    /// What becomes of activations in products with weights.
    #[serde(default)]
    pub activations: Activations,
}

/// What becomes of activations in products with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activations {
    /// They stay in the dtype that is computed in (W4A16 and the like).
    #[default]
    Kept,
    /// They are rounded to 8 bits, with a scale for each of their blocks (W4A8).
    Int8,
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Storage {
    /// No bytes yet, with keys and values in `kv_cache`.
    pub fn empty(kv_cache: Dtype, activations: Activations) -> Self {
        Self {
            layers_bytes: 0,
            tables_bytes: 0,
            others_bytes: 0,
            experts_bytes: 0,
            per_layer_bytes: 0,
            kv_cache,
            activations,
        }
    }

    /// Bytes of all weights.
    pub fn weights_bytes(&self) -> u64 {
        self.multiplied_bytes().saturating_add(self.per_layer_bytes)
    }

    /// Bytes of all weights but the table of embeddings for each layer.
    pub fn multiplied_bytes(&self) -> u64 {
        self.layers_bytes
            .saturating_add(self.tables_bytes)
            .saturating_add(self.others_bytes)
    }
}

impl TensorSpec {
    /// Its bytes in `precision`: matrices in the weights' format, all else in the dtype of activations.
    pub fn bytes(&self, precision: Precision) -> u64 {
        match self.columns() {
            Some(columns) => {
                let format = match has_8_bits(&self.name) {
                    true => precision.table(),
                    false => precision.weights(),
                };
                let columns = columns as u64;
                format.matrix_bytes(self.elements() / columns.max(1), columns)
            }
            None => self.elements() * precision.compute().size_bytes(),
        }
    }
}

impl GemmaConfig {
    /// Bytes of all weights in `precision`, tied weights counted once.
    pub fn weights_bytes(&self, precision: Precision) -> u64 {
        let tensors = self.tensors();
        tensors.iter().map(|tensor| tensor.bytes(precision)).sum()
    }

    /// How the model's numbers are kept in `precision`, at least: each as the precision says, without padding
    /// and with one scale a block.
    pub fn storage(&self, precision: Precision) -> Storage {
        let mut storage = Storage::empty(precision.kv_cache(), Activations::Kept);
        for tensor in self.tensors() {
            let part = match tensor.columns() {
                Some(_) if is_table(&tensor.name) => &mut storage.tables_bytes,
                Some(_) if tensor.name == PER_LAYER_TABLE => &mut storage.per_layer_bytes,
                Some(_) => &mut storage.layers_bytes,
                None => &mut storage.others_bytes,
            };
            let bytes = tensor.bytes(precision);
            *part += bytes;
            if tensor.is_of_experts() {
                storage.experts_bytes += bytes;
            }
        }
        storage
    }

    /// Bytes of the output projection as kept, and of so many rows of the embedding tables.
    pub(super) fn table_bytes(&self, storage: &Storage, rows: usize) -> [u64; 2] {
        let table = match self.tie_word_embeddings {
            true => storage.tables_bytes,
            false => storage.tables_bytes / 2,
        };
        let line = table / self.vocab_size.max(1) as u64;
        let per_layer = self.per_layer.map_or(0, |table| {
            storage.per_layer_bytes / table.vocab_size.max(1) as u64
        });
        [table, (line + per_layer) * rows as u64]
    }

    /// Bytes of experts that none of `tokens` tokens goes through, where each picks its own as if by lot: of E experts
    /// of which a token takes k, E (1 - k / E)^tokens are left.
    pub(super) fn unused_experts_bytes(&self, storage: &Storage, tokens: usize) -> u64 {
        let experts = self.layers.iter().find_map(|layer| layer.experts);
        experts.map_or(0, |experts| {
            let count = experts.count.max(1) as f64;
            let passed = (1.0 - experts.top_k as f64 / count).max(0.0);
            let unused = passed.powf(tokens as f64);
            (storage.experts_bytes as f64 * unused) as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gemma::preset;
    use crate::{Dtype, GemmaConfig, Precision};

    #[test]
    fn plain_weights_are_elements_times_their_size() {
        let config = preset("gemma-2-2b").unwrap().config();
        for dtype in Dtype::ALL {
            let bytes = config.weights_bytes(dtype.into());
            assert_eq!(bytes, config.parameters() * dtype.size_bytes());
        }
    }

    #[test]
    fn only_matrices_are_quantised_and_tables_to_eight_bits() {
        let mut config = GemmaConfig {
            tie_word_embeddings: false,
            ..preset("gemma-3-270m").unwrap().config()
        };
        for layer in &mut config.layers {
            layer.attention.bias = true;
        }
        let precision: Precision = "q4-bf16".parse().unwrap();
        let bytes = |name: &str| {
            let tensors = config.tensors().into_iter();
            let named = tensors.filter(|tensor| tensor.name.ends_with(name));
            named.map(|tensor| tensor.bytes(precision)).sum::<u64>()
        };
        for table in ["embed_tokens.weight", "lm_head.weight"] {
            assert_eq!(bytes(table), 262_144 * (640 + 2), "{table}");
        }
        assert_eq!(bytes("up_proj.weight"), 18 * 2048 * (320 + 2 * 10));
        assert_eq!(bytes("q_proj.bias"), 18 * 1024 * 2);
        assert_eq!(bytes("model.norm.weight"), 640 * 2);
    }
}
