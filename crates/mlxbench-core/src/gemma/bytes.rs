//! Bytes of a model's tensors in a precision, counted tensor by tensor, and as a framework keeps them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gemma::TensorSpec;
use crate::{Dtype, GemmaConfig, Precision};

/// Whether the tensor called `name` has a row for each token of the vocabulary: the embedding table or an
/// output projection of its own.
pub(crate) fn is_table(name: &str) -> bool {
    ["model.embed_tokens.weight", "lm_head.weight"].contains(&name)
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

impl Storage {
    /// Bytes of all weights.
    pub fn weights_bytes(&self) -> u64 {
        self.layers_bytes
            .saturating_add(self.tables_bytes)
            .saturating_add(self.others_bytes)
    }
}

impl TensorSpec {
    /// Its bytes in `precision`: matrices in the weights' format, all else in the dtype of activations.
    pub fn bytes(&self, precision: Precision) -> u64 {
        match *self.shape.as_slice() {
            [rows, columns] => {
                let format = match is_table(&self.name) {
                    true => precision.table(),
                    false => precision.weights(),
                };
                format.matrix_bytes(rows as u64, columns as u64)
            }
            _ => self.elements() * precision.compute().size_bytes(),
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
        let mut storage = Storage {
            layers_bytes: 0,
            tables_bytes: 0,
            others_bytes: 0,
            kv_cache: precision.kv_cache(),
            activations: Activations::Kept,
        };
        for tensor in self.tensors() {
            let part = match tensor.shape.len() {
                2 if is_table(&tensor.name) => &mut storage.tables_bytes,
                2 => &mut storage.layers_bytes,
                _ => &mut storage.others_bytes,
            };
            *part += tensor.bytes(precision);
        }
        storage
    }

    /// Bytes of the output projection as kept, and of so many rows of the embedding table.
    pub(super) fn table_bytes(&self, storage: &Storage, rows: usize) -> [u64; 2] {
        let table = match self.tie_word_embeddings {
            true => storage.tables_bytes,
            false => storage.tables_bytes / 2,
        };
        [table, table / self.vocab_size.max(1) as u64 * rows as u64]
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
