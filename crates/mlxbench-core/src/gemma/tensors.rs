//! Which tensors a checkpoint must hold: names and shapes of the Hugging Face layout.

use crate::gemma::{GemmaConfig, KeysValues, LayerSpec};

/// A tensor that a checkpoint must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in a text-only checkpoint, such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// Its shape; projections are `[out_features, in_features]`.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Elements of a row where this is a matrix.
    pub fn columns(&self) -> Option<usize> {
        match *self.shape.as_slice() {
            [_, columns] => Some(columns),
            _ => None,
        }
    }

    /// Whether this is the weight of an RMSNorm (stored less one: the norm multiplies by `1 + w`).
    pub fn is_norm(&self) -> bool {
        self.name.ends_with("norm.weight")
    }
}

/// The names of the tensors of the layer with this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNames(pub usize);

impl LayerNames {
    /// The whole name of a tensor or module: `LayerNames(0).tensor("mlp.up_proj.weight")`.
    pub fn tensor(self, name: &str) -> String {
        format!("model.layers.{}.{name}", self.0)
    }
}

impl GemmaConfig {
    /// Every tensor of the model, embeddings first, then layer by layer.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let hidden = self.hidden_size;
        let mut specs = Vec::new();
        let mut push = |name: String, shape: &[usize]| {
            specs.push(TensorSpec {
                name,
                shape: shape.to_vec(),
            });
        };

        push(
            "model.embed_tokens.weight".into(),
            &[self.vocab_size, hidden],
        );
        for (index, layer) in self.layers.iter().enumerate() {
            let mut push =
                |name: &str, shape: &[usize]| push(LayerNames(index).tensor(name), shape);
            let LayerSpec {
                attention,
                mlp_width,
                norms,
            } = layer;
            let (q, kv, mlp) = (attention.query_width(), attention.kv_width(), *mlp_width);
            let projections = match attention.keys_values {
                KeysValues::Own => [
                    ("q", q, hidden),
                    ("k", kv, hidden),
                    ("v", kv, hidden),
                    ("o", hidden, q),
                ],
            };
            push(norms.input, &[hidden]);
            for (name, out, inner) in projections {
                push(&format!("self_attn.{name}_proj.weight"), &[out, inner]);
                if attention.bias {
                    push(&format!("self_attn.{name}_proj.bias"), &[out]);
                }
            }
            for name in norms.queries_keys.into_iter().flatten() {
                push(name, &[attention.head_dim]);
            }
            let others = [
                norms.post_attention,
                Some(norms.pre_feedforward),
                norms.post_feedforward,
            ];
            for name in others.into_iter().flatten() {
                push(name, &[hidden]);
            }
            push("mlp.gate_proj.weight", &[mlp, hidden]);
            push("mlp.up_proj.weight", &[mlp, hidden]);
            push("mlp.down_proj.weight", &[hidden, mlp]);
        }
        push("model.norm.weight".into(), &[hidden]);
        if !self.tie_word_embeddings {
            push("lm_head.weight".into(), &[self.vocab_size, hidden]);
        }
        specs
    }
}
