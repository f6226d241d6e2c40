//! A configuration as files have it: `config.json`, a GGUF file's metadata, results. There a few
//! numbers hold for all layers or for all of one kind, and the generation says the rest. This is the
//! one place that knows what it says.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::gemma::{
    AttentionSpec, GemmaConfig, Generation, KeysValues, LayerKind, LayerNorms, LayerSpec, RopeSpec,
};
use crate::{Error, Result};

/// A Gemma text model's shape and constants.
///
/// The fields carry the names of Hugging Face's `config.json` where it has one. Source:
/// `configuration_gemma.py`, `configuration_gemma2.py` and `configuration_gemma3.py` of Hugging Face
/// transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GemmaConfig")]
pub struct FlatConfig {
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

impl FlatConfig {
    /// Every layer of `kind`.
    fn layer(&self, kind: LayerKind) -> LayerSpec {
        let own_rope = self.generation == Generation::Gemma3 && kind == LayerKind::Local;
        LayerSpec {
            attention: AttentionSpec {
                kind,
                window: match kind {
                    LayerKind::Global => None,
                    LayerKind::Local => self.sliding_window,
                },
                heads: self.num_attention_heads,
                kv_heads: self.num_key_value_heads,
                head_dim: self.head_dim,
                rope: match own_rope {
                    true => RopeSpec {
                        theta: self.rope_local_theta,
                        linear_factor: 1.0,
                    },
                    false => RopeSpec {
                        theta: self.rope_theta,
                        linear_factor: self.rope_linear_factor,
                    },
                },
                query_pre_attn_scalar: self.query_pre_attn_scalar,
                softcap: self.attn_logit_softcapping,
                bias: self.attention_bias,
                keys_values: KeysValues::Own,
            },
            mlp_width: self.intermediate_size,
            norms: norms(self.generation),
        }
    }
}

/// The norms of a generation's layers.
fn norms(generation: Generation) -> LayerNorms {
    let both_sides = LayerNorms {
        input: "input_layernorm.weight",
        queries_keys: None,
        post_attention: Some("post_attention_layernorm.weight"),
        pre_feedforward: "pre_feedforward_layernorm.weight",
        post_feedforward: Some("post_feedforward_layernorm.weight"),
    };
    match generation {
        // Its norm before the MLP has the name of the later ones' norm after attention.
        Generation::Gemma1 => LayerNorms {
            post_attention: None,
            pre_feedforward: "post_attention_layernorm.weight",
            post_feedforward: None,
            ..both_sides
        },
        Generation::Gemma2 => both_sides,
        Generation::Gemma3 => LayerNorms {
            queries_keys: Some(["self_attn.q_norm.weight", "self_attn.k_norm.weight"]),
            ..both_sides
        },
    }
}

impl From<FlatConfig> for GemmaConfig {
    fn from(flat: FlatConfig) -> Self {
        Self {
            layers: flat.layers.iter().map(|&kind| flat.layer(kind)).collect(),
            generation: flat.generation,
            vocab_size: flat.vocab_size,
            hidden_size: flat.hidden_size,
            rms_norm_eps: flat.rms_norm_eps,
            max_position_embeddings: flat.max_position_embeddings,
            final_logit_softcapping: flat.final_logit_softcapping,
            tie_word_embeddings: flat.tie_word_embeddings,
            bos_token_id: flat.bos_token_id,
            eos_token_ids: flat.eos_token_ids,
        }
    }
}

impl GemmaConfig {
    /// The configuration as files have it. What no layer makes use of is as on those that there are.
    ///
    /// # Errors
    /// When there is no layer, or the layers differ in what a file says once for all.
    pub fn flat(&self) -> Result<FlatConfig> {
        let of_kind = |kind| {
            self.layers
                .iter()
                .find(|layer| layer.attention.kind == kind)
        };
        let local = of_kind(LayerKind::Local);
        let any = of_kind(LayerKind::Global).or(local);
        let any = any.ok_or_else(|| Error::Invalid("a model without layers".into()))?;
        let attention = &any.attention;
        let flat = FlatConfig {
            generation: self.generation,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: any.mlp_width,
            num_attention_heads: attention.heads,
            num_key_value_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            rms_norm_eps: self.rms_norm_eps,
            max_position_embeddings: self.max_position_embeddings,
            query_pre_attn_scalar: attention.query_pre_attn_scalar,
            layers: self
                .layers
                .iter()
                .map(|layer| layer.attention.kind)
                .collect(),
            sliding_window: local.and_then(|layer| layer.attention.window),
            rope_theta: attention.rope.theta,
            rope_local_theta: local.unwrap_or(any).attention.rope.theta,
            rope_linear_factor: attention.rope.linear_factor,
            attn_logit_softcapping: attention.softcap,
            final_logit_softcapping: self.final_logit_softcapping,
            attention_bias: attention.bias,
            tie_word_embeddings: self.tie_word_embeddings,
            bos_token_id: self.bos_token_id,
            eos_token_ids: self.eos_token_ids.clone(),
        };
        match Self::from(flat.clone()) == *self {
            true => Ok(flat),
            false => Err(Error::Invalid(format!(
                "layers that the keys of a {} can't tell apart",
                self.generation.model_type()
            ))),
        }
    }
}

impl Serialize for GemmaConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.flat()
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for GemmaConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        FlatConfig::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for GemmaConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        FlatConfig::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        FlatConfig::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::preset;

    fn flat(name: &str) -> FlatConfig {
        preset(name).unwrap().config().flat().unwrap()
    }

    #[test]
    fn rope_of_local_layers_is_gemma_3s_own() {
        let gemma_3 = GemmaConfig::from(flat("gemma-3-4b")).layers;
        let rope = |layer: usize| {
            (
                gemma_3[layer].attention.rope.theta,
                gemma_3[layer].attention.rope.linear_factor,
            )
        };
        assert_eq!((rope(0), rope(5)), ((1e4, 1.0), (1e6, 8.0)));
        let scaled = FlatConfig {
            rope_linear_factor: 2.0,
            ..flat("gemma-2-2b")
        };
        let [first, second, ..] = &GemmaConfig::from(scaled).layers[..] else {
            panic!("26 layers")
        };
        assert_eq!(first.attention.rope, second.attention.rope);
        assert_eq!(
            (first.attention.window, second.attention.window),
            (Some(4096), None)
        );
    }

    #[test]
    fn norms_are_named_by_their_place() {
        let norms = |name| GemmaConfig::from(flat(name)).layers[0].norms;
        let first = norms("gemma-2b");
        assert_eq!(first.pre_feedforward, "post_attention_layernorm.weight");
        assert_eq!((first.post_attention, first.of_residual()), (None, 2));
        let second = norms("gemma-2-2b");
        assert_eq!(second.post_attention, Some(first.pre_feedforward));
        assert_eq!((second.queries_keys, second.of_residual()), (None, 4));
        assert!(norms("gemma-3-1b").queries_keys.is_some());
    }

    #[test]
    fn layers_that_a_file_cannot_tell_apart_are_not_written() {
        let mut config = preset("gemma-3-270m").unwrap().config();
        config.layers[3].mlp_width += 1;
        assert!(config.flat().is_err());
        assert!(serde_json::to_string(&config).is_err());
        config.layers.clear();
        assert!(config.flat().is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for name in ["gemma-7b", "gemma-2-9b", "gemma-3-4b"] {
            let config = preset(name).unwrap().config();
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<GemmaConfig>(&text).unwrap(), config);
        }
    }
}
