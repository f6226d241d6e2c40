//! Which tensors a checkpoint must hold: names and shapes of the Hugging Face layout.

use crate::gemma::{GemmaConfig, Generation, KeysValues, LayerSpec};

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

/// GGUF's name of a Hugging Face tensor. Source: ggml's `constants.py` and `tensor_mapping.py`.
pub fn gguf_name(name: &str, generation: Generation) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".into(),
        "model.norm.weight" => return "output_norm.weight".into(),
        "lm_head.weight" => return "output.weight".into(),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.").unwrap_or(name);
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    // `weight`, or `bias` in attention.
    let (part, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
    let known = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        // In Gemma 1 this is the norm before the MLP.
        "post_attention_layernorm" if generation == Generation::Gemma1 => "ffn_norm",
        "post_attention_layernorm" => "post_attention_norm",
        "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer}.{known}.{kind}")
}
