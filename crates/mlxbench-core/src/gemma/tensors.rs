//! Which tensors a checkpoint must hold: names and shapes of the Hugging Face layout.

use crate::GemmaConfig;

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

    /// Whether this is the weight of an RMSNorm (stored less one: the norm multiplies by `1 + w`).
    pub fn is_norm(&self) -> bool {
        self.name.ends_with("norm.weight")
    }
}

/// The name of a tensor of layer `layer`: `layer_tensor(0, "mlp.up_proj.weight")`.
pub fn layer_tensor(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}

impl GemmaConfig {
    /// Every tensor of the model, embeddings first, then layer by layer.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let q = self.num_attention_heads * self.head_dim;
        let kv = self.num_key_value_heads * self.head_dim;
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
        for layer in 0..self.num_layers() {
            let mut push = |name: &str, shape: &[usize]| push(layer_tensor(layer, name), shape);
            push("input_layernorm.weight", &[hidden]);
            for (name, out, inner) in [
                ("q", q, hidden),
                ("k", kv, hidden),
                ("v", kv, hidden),
                ("o", hidden, q),
            ] {
                push(&format!("self_attn.{name}_proj.weight"), &[out, inner]);
                if self.attention_bias {
                    push(&format!("self_attn.{name}_proj.bias"), &[out]);
                }
            }
            if self.has_qk_norm() {
                push("self_attn.q_norm.weight", &[self.head_dim]);
                push("self_attn.k_norm.weight", &[self.head_dim]);
            }
            push("post_attention_layernorm.weight", &[hidden]);
            if self.has_post_norms() {
                push("pre_feedforward_layernorm.weight", &[hidden]);
                push("post_feedforward_layernorm.weight", &[hidden]);
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
