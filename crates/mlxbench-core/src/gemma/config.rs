//! The configuration of a Gemma text model, once its defaults are resolved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Dtype;
use crate::gemma::{LayerSpec, TensorSpec};

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

/// A Gemma text model: what holds for all of it, and each layer by what it needs.
///
/// Read from Hugging Face's `config.json` by [`GemmaConfig::from_json`]. In files and results it has
/// the form of a [`FlatConfig`](crate::gemma::FlatConfig).
#[derive(Debug, Clone, PartialEq)]
pub struct GemmaConfig {
    /// Which architecture.
    pub generation: Generation,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Added to the mean square inside every RMSNorm.
    pub rms_norm_eps: f64,
    /// The longest context that the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Its layers, in order.
    pub layers: Vec<LayerSpec>,
    /// Soft-cap of the output logits.
    pub final_logit_softcapping: Option<f64>,
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

    /// Factor on embeddings, `sqrt(hidden_size)` rounded to `dtype` as the reference rounds it.
    pub fn embedding_scale(&self, dtype: Dtype) -> f64 {
        let scale = (self.hidden_size as f64).sqrt() as f32;
        match dtype {
            Dtype::F32 => scale.into(),
            Dtype::Bf16 => half::bf16::from_f32(scale).to_f64(),
            Dtype::F16 => half::f16::from_f32(scale).to_f64(),
        }
    }

    /// Number of parameters, tied weights counted once.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(TensorSpec::elements).sum()
    }

    /// Bytes of the KV cache that `context` tokens a row need at least, over `batch` rows in
    /// `dtype`: local layers keep no more than their window.
    pub fn kv_cache_bytes(&self, dtype: Dtype, batch: usize, context: usize) -> u64 {
        let elements = self.layers.iter().map(|LayerSpec { attention, .. }| {
            let position = 2 * attention.kv_width() as u64;
            position.saturating_mul(attention.seen(context) as u64)
        });
        let elements = elements.fold(0, u64::saturating_add);
        [batch as u64, dtype.size_bytes()]
            .into_iter()
            .fold(elements, u64::saturating_mul)
    }
}
