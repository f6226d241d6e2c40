//! Bytes of a model's tensors in a precision, counted tensor by tensor.

use crate::gemma::TensorSpec;
use crate::{GemmaConfig, Precision};

impl TensorSpec {
    /// Whether it has a row for each token of the vocabulary: the embedding table or an output projection
    /// of its own.
    fn is_table(&self) -> bool {
        ["model.embed_tokens.weight", "lm_head.weight"].contains(&self.name.as_str())
    }

    /// Its bytes in `precision`: matrices in the weights' format, all else in the dtype of activations.
    pub fn bytes(&self, precision: Precision) -> u64 {
        match *self.shape.as_slice() {
            [rows, columns] => {
                let format = match self.is_table() {
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

    /// Bytes of so many rows of the embedding table.
    pub(super) fn table_bytes(&self, precision: Precision, rows: usize) -> u64 {
        let format = precision.table();
        format.matrix_bytes(rows as u64, self.hidden_size as u64)
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
