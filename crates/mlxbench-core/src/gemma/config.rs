//! The configuration of a Gemma text model, once its defaults are resolved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Dtype;
use crate::gemma::{LayerSpec, NormSpec, PER_LAYER_PROJECTION_NORM, PerLayerSpec};

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
    /// VaultGemma: Gemma 2 without the norms after attention and MLP.
    VaultGemma,
    /// Gemma 4: norms without an offset, unscaled attention, two kinds of heads; some share KV caches, have
    /// embeddings for each layer, or experts.
    Gemma4,
}

impl Generation {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gemma1 => "Gemma 1",
            Self::Gemma2 => "Gemma 2",
            Self::Gemma3 => "Gemma 3",
            Self::VaultGemma => "VaultGemma",
            Self::Gemma4 => "Gemma 4",
        }
    }

    /// The `model_type` of its text model.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Gemma1 => "gemma",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::VaultGemma => "vaultgemma",
            Self::Gemma4 => "gemma4_text",
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
    /// Added to the weights of RMSNorms.
    pub norm_offset: f64,
    /// The table of embeddings for each layer.
    pub per_layer: Option<PerLayerSpec>,
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

    /// The RMSNorm over `width` elements whose weight is the tensor called `name`.
    pub fn norm(&self, name: impl Into<String>, width: usize) -> NormSpec {
        NormSpec {
            weight: Some(name.into()),
            width,
            offset: self.norm_offset,
            scale: 1.0,
            eps: self.rms_norm_eps,
        }
    }

    /// The RMSNorm over `width` elements that has no weight.
    pub fn plain_norm(&self, width: usize) -> NormSpec {
        NormSpec {
            weight: None,
            width,
            offset: 1.0,
            scale: 1.0,
            eps: self.rms_norm_eps,
        }
    }

    /// How embeddings for each layer come from a token's embedding `x` and its row `t` of their table:
    /// `norm(projection(x)) + scale * t`, normed layer by layer. The reference's factors, hidden_size^-1/2 on the
    /// projection and 2^-1/2 on the sum, are in norm and scale. `None` where there are none.
    pub fn per_layer_parts(&self) -> Option<(PerLayerSpec, NormSpec, f64)> {
        let table = self.per_layer?;
        let half = 0.5_f64.sqrt();
        let norm = NormSpec {
            scale: half,
            eps: self.rms_norm_eps * self.hidden_size as f64,
            ..self.norm(PER_LAYER_PROJECTION_NORM, table.width)
        };
        Some((table, norm, (table.width as f64).sqrt() * half))
    }

    /// Whether any layer has a mixture of experts.
    pub fn has_experts(&self) -> bool {
        self.layers.iter().any(|layer| layer.experts.is_some())
    }

    /// The norm of a model's end.
    pub fn final_norm(&self) -> NormSpec {
        self.norm("model.norm.weight", self.hidden_size)
    }

    /// Number of parameters, tied weights counted once.
    pub fn parameters(&self) -> u64 {
        let elements = self.tensors().into_iter().map(|tensor| tensor.elements());
        elements.fold(0, u64::saturating_add)
    }

    /// Bytes of the KV cache that `context` tokens a row need at least, over `batch` rows in
    /// `dtype`: local layers keep no more than their window, and those that share another's cache nothing.
    pub fn kv_cache_bytes(&self, dtype: Dtype, batch: usize, context: usize) -> u64 {
        let owners = self.layers.iter();
        let owners = owners.filter(|layer| layer.attention.keys_values.are_own());
        Self::seen_bytes(owners, dtype, batch, context)
    }

    /// Bytes of keys and values that a token sees which is the last of `context`, in all layers: those that share
    /// a cache read it each.
    pub fn kv_read_bytes(&self, dtype: Dtype, batch: usize, context: usize) -> u64 {
        Self::seen_bytes(self.layers.iter(), dtype, batch, context)
    }

    fn seen_bytes<'a>(
        layers: impl Iterator<Item = &'a LayerSpec>,
        dtype: Dtype,
        batch: usize,
        context: usize,
    ) -> u64 {
        let elements = layers.map(|LayerSpec { attention, .. }| {
            let position = 2 * attention.kv_width() as u64;
            position.saturating_mul(attention.seen(context) as u64)
        });
        let elements = elements.fold(0, u64::saturating_add);
        [batch as u64, dtype.size_bytes()]
            .into_iter()
            .fold(elements, u64::saturating_mul)
    }
}
