//! A configuration as files have it: `config.json`, a GGUF file's metadata, results. There a few
//! numbers hold for all layers or for all of one kind, and the generation says the rest. This is the
//! one place that knows what it says.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::gemma::{
    AttentionSpec, ExpertsSpec, GemmaConfig, Generation, KeysValues, LayerKind, LayerNorms,
    LayerSpec, PerLayerSpec, RopeSpec,
};
use crate::{Error, Result};

/// A Gemma text model's shape and constants.
///
/// The fields carry the names of Hugging Face's `config.json` where it has one. Source:
/// `configuration_gemma.py`, `configuration_gemma2.py`, `configuration_gemma3.py`,
/// `configuration_vaultgemma.py` and `configuration_gemma4.py` of Hugging Face transformers.
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
    /// What Gemma 4 alone has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gemma4: Option<Gemma4>,
}

/// What Gemma 4 has beside the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gemma4 {
    /// Width of a head on global layers.
    pub global_head_dim: usize,
    /// Key and value heads on global layers.
    pub num_global_key_value_heads: usize,
    /// Whether global layers have one projection for keys and values.
    pub attention_k_eq_v: bool,
    /// The share of a head's frequencies that aren't 0 on global layers.
    pub partial_rotary_factor: f64,
    /// How many of the last layers use keys and values of the last layer of their kind before them.
    pub num_kv_shared_layers: usize,
    /// Whether these have MLPs twice as wide.
    pub use_double_wide_mlp: bool,
    /// Width of a token's embedding for each layer; 0 for none.
    pub hidden_size_per_layer_input: usize,
    /// Rows of the table of those.
    pub vocab_size_per_layer_input: usize,
    /// The experts of each layer.
    pub experts: Option<ExpertsSpec>,
}

impl Gemma4 {
    /// What stands for it in the others.
    fn none(flat: &FlatConfig) -> Self {
        Self {
            global_head_dim: flat.head_dim,
            num_global_key_value_heads: flat.num_key_value_heads,
            attention_k_eq_v: false,
            partial_rotary_factor: 1.0,
            num_kv_shared_layers: 0,
            use_double_wide_mlp: false,
            hidden_size_per_layer_input: 0,
            vocab_size_per_layer_input: 0,
            experts: None,
        }
    }

    /// What the layers of `config` say.
    fn of(config: &GemmaConfig) -> Self {
        let layers = &config.layers;
        let own = |layer: &&LayerSpec| layer.attention.keys_values.are_own();
        let is_global = |layer: &&LayerSpec| layer.attention.kind == LayerKind::Global;
        let (first, shared) = (layers.first(), layers.iter().find(|layer| !own(layer)));
        let global = layers.iter().find(is_global).or(first);
        let of_global = |of: fn(&AttentionSpec) -> usize| global.map_or(0, |g| of(&g.attention));
        let widths = first.zip(shared).map(|(a, b)| (a.mlp_width, b.mlp_width));
        Self {
            global_head_dim: of_global(|attention| attention.head_dim),
            num_global_key_value_heads: of_global(|attention| attention.kv_heads),
            attention_k_eq_v: layers
                .iter()
                .any(|layer| layer.attention.keys_values == KeysValues::OneProjection),
            partial_rotary_factor: global.map_or(1.0, |layer| layer.attention.rope.rotated),
            num_kv_shared_layers: layers.iter().filter(|layer| !own(layer)).count(),
            use_double_wide_mlp: widths.is_some_and(|(own, shared)| own != shared),
            hidden_size_per_layer_input: config.per_layer.map_or(0, |table| table.width),
            vocab_size_per_layer_input: config.per_layer.map_or(0, |table| table.vocab_size),
            experts: first.and_then(|layer| layer.experts),
        }
    }
}

impl FlatConfig {
    /// The layer with this index.
    fn layer(&self, index: usize) -> LayerSpec {
        let kind = self.layers[index];
        let newest = self.generation == Generation::Gemma4;
        let more = self.gemma4.clone().unwrap_or_else(|| Gemma4::none(self));
        let is_local = kind == LayerKind::Local;
        let own_rope = is_local && (newest || self.generation == Generation::Gemma3);
        let keys_values = self.keys_values(index, &more);
        let is_double = more.use_double_wide_mlp && !keys_values.are_own();
        LayerSpec {
            attention: AttentionSpec {
                kind,
                window: match kind {
                    LayerKind::Global => None,
                    LayerKind::Local => self.sliding_window,
                },
                heads: self.num_attention_heads,
                kv_heads: match is_local {
                    true => self.num_key_value_heads,
                    false => more.num_global_key_value_heads,
                },
                head_dim: match is_local {
                    true => self.head_dim,
                    false => more.global_head_dim,
                },
                rope: match own_rope {
                    true => RopeSpec {
                        theta: self.rope_local_theta,
                        linear_factor: 1.0,
                        rotated: 1.0,
                    },
                    false => RopeSpec {
                        theta: self.rope_theta,
                        linear_factor: self.rope_linear_factor,
                        rotated: more.partial_rotary_factor,
                    },
                },
                query_pre_attn_scalar: self.query_pre_attn_scalar,
                softcap: self.attn_logit_softcapping,
                bias: self.attention_bias,
                keys_values,
            },
            mlp_width: self.intermediate_size * if is_double { 2 } else { 1 },
            experts: more.experts,
            per_layer_input: Some(more.hidden_size_per_layer_input).filter(|&width| width > 0),
            scalar: newest.then_some("layer_scalar"),
            norms: norms(self.generation),
        }
    }

    /// Where the keys and values of the layer with this index come from.
    fn keys_values(&self, index: usize, more: &Gemma4) -> KeysValues {
        let kind = self.layers[index];
        let first_shared = self.layers.len().saturating_sub(more.num_kv_shared_layers);
        let owners = &self.layers[..first_shared];
        match owners.iter().rposition(|&owner| owner == kind) {
            Some(owner) if index >= first_shared => KeysValues::Of(owner),
            _ if more.attention_k_eq_v && kind == LayerKind::Global => KeysValues::OneProjection,
            _ => KeysValues::Own,
        }
    }
}

/// The norms of a generation's layers.
fn norms(generation: Generation) -> LayerNorms {
    let both_sides = LayerNorms {
        input: "input_layernorm.weight",
        queries_keys: None,
        values: false,
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
        Generation::Gemma3 | Generation::Gemma4 => LayerNorms {
            queries_keys: Some(["self_attn.q_norm.weight", "self_attn.k_norm.weight"]),
            values: generation == Generation::Gemma4,
            ..both_sides
        },
        Generation::VaultGemma => LayerNorms {
            post_attention: None,
            post_feedforward: None,
            ..both_sides
        },
    }
}

impl From<FlatConfig> for GemmaConfig {
    fn from(flat: FlatConfig) -> Self {
        Self {
            layers: (0..flat.layers.len())
                .map(|index| flat.layer(index))
                .collect(),
            norm_offset: match flat.generation {
                Generation::Gemma4 => 0.0,
                _ => 1.0,
            },
            per_layer: flat.gemma4.as_ref().and_then(|more| {
                let width = more.hidden_size_per_layer_input;
                (width > 0).then_some(PerLayerSpec {
                    vocab_size: more.vocab_size_per_layer_input,
                    width,
                })
            }),
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
        let is_newest = self.generation == Generation::Gemma4;
        // Of what differs by kind, the file's first keys mean local layers.
        let of_heads = &local.unwrap_or(any).attention;
        let flat = FlatConfig {
            generation: self.generation,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.layers[0].mlp_width,
            num_attention_heads: attention.heads,
            num_key_value_heads: of_heads.kv_heads,
            head_dim: of_heads.head_dim,
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
            gemma4: is_newest.then(|| Gemma4::of(self)),
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
        for name in [
            "gemma-7b",
            "gemma-2-9b",
            "gemma-3-4b",
            "gemma-4-e2b",
            "gemma-4-12b",
            "gemma-4-26b-a4b",
        ] {
            let config = preset(name).unwrap().config();
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<GemmaConfig>(&text).unwrap(), config);
        }
    }
}
