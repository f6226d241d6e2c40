//! Which tensors a checkpoint must hold: names and shapes of the Hugging Face layout.

use crate::gemma::{EXPERTS_NORMS, GemmaConfig, Generation, LayerSpec, PER_LAYER_NORM};

/// A tensor that a checkpoint must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in a text-only checkpoint, such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// Its shape; projections are `[out_features, in_features]`, those of experts `[experts, out_features,
    /// in_features]`.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// Elements of a row where this is a matrix, or matrices below one another.
    pub fn columns(&self) -> Option<usize> {
        match *self.shape.as_slice() {
            [_, columns] | [_, _, columns] => Some(columns),
            _ => None,
        }
    }

    /// Whether this is matrices of experts.
    pub fn is_of_experts(&self) -> bool {
        self.shape.len() == 3
    }

    /// Whether this is the weight of an RMSNorm (up to Gemma 3 stored less one).
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

/// The table of embeddings for each layer.
pub const PER_LAYER_TABLE: &str = "model.embed_tokens_per_layer.weight";
/// The projection of embeddings to what all layers add to their own.
pub const PER_LAYER_PROJECTION: &str = "model.per_layer_model_projection.weight";
/// The norm of what comes out of it.
pub const PER_LAYER_PROJECTION_NORM: &str = "model.per_layer_projection_norm.weight";

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
        if let Some(per_layer) = self.per_layer {
            let all = self.layers.len() * per_layer.width;
            push(PER_LAYER_TABLE.into(), &[per_layer.vocab_size, all]);
            push(PER_LAYER_PROJECTION.into(), &[all, hidden]);
            push(PER_LAYER_PROJECTION_NORM.into(), &[per_layer.width]);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            push_layer(layer, hidden, |name, shape| {
                push(LayerNames(index).tensor(name), shape);
            });
        }
        push("model.norm.weight".into(), &[hidden]);
        if !self.tie_word_embeddings {
            push("lm_head.weight".into(), &[self.vocab_size, hidden]);
        }
        specs
    }
}

/// Tells `push` the names and shapes of a layer's tensors.
fn push_layer(layer: &LayerSpec, hidden: usize, mut push: impl FnMut(&str, &[usize])) {
    let LayerSpec {
        attention,
        mlp_width: mlp,
        experts,
        per_layer_input,
        scalar,
        norms,
    } = layer;
    let (q, kv) = (attention.query_width(), attention.kv_width());
    let projections = attention.keys_values.projections().iter();
    let widths = [q, kv, kv].map(|out| [out, hidden]);
    let projections = projections.copied().zip(widths);
    push(norms.input, &[hidden]);
    for (name, shape) in projections.chain([("self_attn.o_proj", [hidden, q])]) {
        push(&format!("{name}.weight"), &shape);
        if attention.bias {
            push(&format!("{name}.bias"), &shape[..1]);
        }
    }
    let of_heads = match attention.keys_values.are_own() {
        true => 2,
        false => 1,
    };
    for name in norms.queries_keys.iter().flatten().take(of_heads) {
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
    push("mlp.gate_proj.weight", &[*mlp, hidden]);
    push("mlp.up_proj.weight", &[*mlp, hidden]);
    push("mlp.down_proj.weight", &[hidden, *mlp]);
    if let Some(experts) = experts {
        push("router.proj.weight", &[experts.count, hidden]);
        push("router.scale", &[hidden]);
        push("router.per_expert_scale", &[experts.count]);
        let (count, width) = (experts.count, experts.width);
        push("experts.gate_up_proj", &[count, 2 * width, hidden]);
        push("experts.down_proj", &[count, hidden, width]);
        for name in EXPERTS_NORMS {
            push(name, &[hidden]);
        }
    }
    if let Some(width) = *per_layer_input {
        push("per_layer_input_gate.weight", &[width, hidden]);
        push("per_layer_projection.weight", &[hidden, width]);
        push(PER_LAYER_NORM, &[hidden]);
    }
    if let Some(name) = scalar {
        push(name, &[1]);
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
