//! The configuration of a Gemma text model, once its defaults are resolved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Dtype;
use crate::gemma::TensorSpec;

/// A generation of Gemma.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// Gemma and Gemma 1.1: two norms a layer, global attention only.
    Gemma1,
    /// Gemma 2: four norms a layer, soft-caps, every other layer windowed.
    Gemma2,
    /// Gemma 3: QK-norm, no soft-caps, five windowed layers to one global.
    Gemma3,
}

impl Generation {
    /// The `model_type` of its text model.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Gemma1 => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
        }
    }
}

/// What a layer's attention sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Every earlier position.
    Global,
    /// The last `sliding_window` positions, the query's own counted.
    Local,
}

impl LayerKind {
    /// Its name in `layer_types` of `config.json`.
    pub fn hf_name(self) -> &'static str {
        match self {
            Self::Global => "full_attention",
            Self::Local => "sliding_attention",
        }
    }
}

/// A Gemma text model's shape and constants.
///
/// Read from Hugging Face's `config.json` by [`GemmaConfig::from_json`]; the fields carry the
/// names of that file where it has one. Source: `configuration_gemma.py`,
/// `configuration_gemma2.py` and `configuration_gemma3.py` of Hugging Face transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GemmaConfig {
    /// Which architecture.
    pub generation: Generation,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head; independent of `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Added to the mean square inside every RMSNorm.
    pub rms_norm_eps: f64,
    /// The longest context that the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Attention scores are scaled by this number to the power of -1/2.
    pub query_pre_attn_scalar: f64,
    /// What each layer sees, in order; its length is the number of layers.
    pub layers: Vec<LayerKind>,
    /// Positions that a local layer sees: `query - key < sliding_window`.
    pub sliding_window: Option<usize>,
    /// RoPE's base on global layers.
    pub rope_theta: f64,
    /// RoPE's base on local layers.
    pub rope_local_theta: f64,
    /// Positions are divided by this (linear RoPE scaling); not on Gemma 3's local layers.
    pub rope_linear_factor: f64,
    /// Soft-cap of attention scores, applied before the mask.
    pub attn_logit_softcapping: Option<f64>,
    /// Soft-cap of the output logits.
    pub final_logit_softcapping: Option<f64>,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// Whether the output projection is the embedding table.
    pub tie_word_embeddings: bool,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
}

impl GemmaConfig {
    /// Number of layers.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// Factor on attention scores: `query_pre_attn_scalar^-1/2`.
    pub fn attention_scale(&self) -> f64 {
        self.query_pre_attn_scalar.powf(-0.5)
    }

    /// Factor on embeddings, `sqrt(hidden_size)` rounded to `dtype` as the reference rounds it.
    pub fn embedding_scale(&self, dtype: Dtype) -> f64 {
        let scale = (self.hidden_size as f64).sqrt() as f32;
        match dtype {
            Dtype::F32 => scale.into(),
            Dtype::Bf16 => half::bf16::from_f32(scale).to_f64(),
            Dtype::F16 => half::f16::from_f32(scale).to_f64(),
        }
    }

    /// The window of a layer of `kind`: `None` when it sees everything.
    pub fn window(&self, kind: LayerKind) -> Option<usize> {
        match kind {
            LayerKind::Global => None,
            LayerKind::Local => self.sliding_window,
        }
    }

    /// RoPE's base and linear scaling factor on layers of `kind`.
    pub fn rope(&self, kind: LayerKind) -> (f64, f64) {
        match (self.generation, kind) {
            (Generation::Gemma3, LayerKind::Local) => (self.rope_local_theta, 1.0),
            _ => (self.rope_theta, self.rope_linear_factor),
        }
    }

    /// Query heads that share one key and value head (grouped-query attention).
    pub fn queries_per_kv(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// Whether attention output and MLP output are normalised before they join the residual.
    pub fn has_post_norms(&self) -> bool {
        self.generation != Generation::Gemma1
    }

    /// Whether queries and keys are normalised before RoPE.
    pub fn has_qk_norm(&self) -> bool {
        self.generation == Generation::Gemma3
    }

    /// Number of parameters, tied weights counted once.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(TensorSpec::elements).sum()
    }

    /// Bytes of the KV cache that `context` tokens a row need at least, over `batch` rows in
    /// `dtype`: local layers keep no more than their window.
    pub fn kv_cache_bytes(&self, dtype: Dtype, batch: usize, context: usize) -> u64 {
        let row = 2 * self.num_key_value_heads as u64 * self.head_dim as u64;
        let positions = self.layers.iter().map(|&kind| {
            let seen = self.window(kind).map_or(context, |w| context.min(w));
            seen as u64
        });
        let positions = positions.fold(0, u64::saturating_add);
        [row, batch as u64, dtype.size_bytes()]
            .into_iter()
            .fold(positions, u64::saturating_mul)
    }
}
