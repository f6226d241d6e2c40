//! Hugging Face's `config.json`, read and written: old and new spellings of every key, the text
//! part of multimodal files, the defaults that the reference classes fill in.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::gemma::{GemmaConfig, Generation, LayerKind};
use crate::{Error, Result};

/// The keys that matter, all optional: the classes of transformers have a default for each.
#[derive(Deserialize, Default)]
#[serde(default)]
struct HfConfig {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    sliding_window: Option<usize>,
    #[serde(alias = "_sliding_window_pattern")]
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParametersByKind>,
    #[serde(deserialize_with = "present")]
    attn_logit_softcapping: Option<Option<f64>>,
    #[serde(deserialize_with = "present")]
    final_logit_softcapping: Option<Option<f64>>,
    attention_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    use_bidirectional_attention: Option<bool>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
    mlxbench_attn_logit_softcapping: Option<f64>,
    mlxbench_final_logit_softcapping: Option<f64>,
}

/// The keys of the soft-caps of attention and of the output. A GGUF file can ask for both in every
/// generation; where the class of transformers has none, or ignores its own key as Gemma 3's does,
/// they stand under names that no other program reads.
fn softcap_keys(generation: Generation) -> [&'static str; 2] {
    match generation {
        Generation::Gemma1 => [
            "mlxbench_attn_logit_softcapping",
            "mlxbench_final_logit_softcapping",
        ],
        Generation::Gemma2 => ["attn_logit_softcapping", "final_logit_softcapping"],
        Generation::Gemma3 => ["mlxbench_attn_logit_softcapping", "final_logit_softcapping"],
    }
}

/// RoPE as the old `rope_scaling` and the new `rope_parameters` state it.
#[derive(Deserialize, Default, Clone)]
struct RopeParameters {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
}

/// The new `rope_parameters`: one set, or one set a kind of layer.
#[derive(Deserialize, Default, Clone)]
struct RopeParametersByKind {
    full_attention: Option<RopeParameters>,
    sliding_attention: Option<RopeParameters>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
}

impl RopeParametersByKind {
    fn global(&self) -> RopeParameters {
        self.full_attention
            .clone()
            .unwrap_or_else(|| RopeParameters {
                rope_type: self.rope_type.clone(),
                rope_theta: self.rope_theta,
                factor: self.factor,
            })
    }
}

/// `eos_token_id` is one id or a list of them.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct OneOrMany(Vec<u32>);

impl TryFrom<Value> for OneOrMany {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let ids = match value {
            Value::Array(ids) => ids,
            Value::Null => Vec::new(),
            id => vec![id],
        };
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = ids
            .iter()
            .map(|value| id(value).ok_or(format!("{value} is no token id")));
        Ok(Self(ids.collect::<Result<_, _>>()?))
    }
}

/// What a generation's reference class assumes for keys that a file leaves out.
struct Defaults {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    context: usize,
    rope_theta: f64,
    /// Every n-th layer is global.
    pattern: usize,
    sliding_window: Option<usize>,
    attn_softcap: Option<f64>,
    final_softcap: Option<f64>,
}

impl Defaults {
    fn of(generation: Generation) -> Self {
        match generation {
            Generation::Gemma1 => Self {
                vocab_size: 256_000,
                hidden_size: 3072,
                intermediate_size: 24_576,
                layers: 28,
                heads: 16,
                kv_heads: 16,
                context: 8192,
                rope_theta: 1e4,
                pattern: 1,
                sliding_window: None,
                attn_softcap: None,
                final_softcap: None,
            },
            Generation::Gemma2 => Self {
                vocab_size: 256_000,
                hidden_size: 2304,
                intermediate_size: 9216,
                layers: 26,
                heads: 8,
                kv_heads: 4,
                context: 8192,
                rope_theta: 1e4,
                pattern: 2,
                sliding_window: Some(4096),
                attn_softcap: Some(50.0),
                final_softcap: Some(30.0),
            },
            Generation::Gemma3 => Self {
                vocab_size: 262_208,
                hidden_size: 2304,
                intermediate_size: 9216,
                layers: 26,
                heads: 8,
                kv_heads: 4,
                context: 131_072,
                rope_theta: 1e6,
                pattern: 6,
                sliding_window: Some(4096),
                attn_softcap: None,
                final_softcap: None,
            },
        }
    }
}

impl GemmaConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// When the text is no JSON, the architecture is none of Gemma 1, 2 and 3, or the file asks
    /// for something that the three adapters don't implement (another activation, another RoPE
    /// scaling, bidirectional attention).
    pub fn from_json(text: &str) -> Result<Self> {
        let mut value: Value = serde_json::from_str(text).map_err(invalid)?;
        // Multimodal files keep the text model's keys apart, and the end tokens outside.
        let outer_eos = value.get("eos_token_id").cloned();
        if let Some(mut text_config) = value.get_mut("text_config").map(Value::take) {
            if let Some(text_config) = text_config.as_object_mut() {
                if !text_config.contains_key("model_type") {
                    let outer = value.get("model_type").cloned().unwrap_or_default();
                    text_config.insert("model_type".into(), outer);
                }
                if let Some(eos) = outer_eos {
                    text_config.insert("eos_token_id".into(), eos);
                }
            }
            value = text_config;
        }
        let file: HfConfig = serde_json::from_value(value).map_err(invalid)?;
        file.resolve().map_err(Error::Invalid)
    }

    /// The configuration as a `config.json` that transformers and mlx-lm read, weights in `dtype`.
    pub fn to_json(&self, dtype: crate::Dtype) -> Value {
        let (architecture, model_type) = match self.generation {
            Generation::Gemma1 => ("GemmaForCausalLM", "gemma"),
            Generation::Gemma2 => ("Gemma2ForCausalLM", "gemma2"),
            Generation::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
        };
        let mut config = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "torch_dtype": match dtype {
                crate::Dtype::F32 => "float32",
                crate::Dtype::Bf16 => "bfloat16",
                crate::Dtype::F16 => "float16",
            },
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers(),
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "rms_norm_eps": self.rms_norm_eps,
            "max_position_embeddings": self.max_position_embeddings,
            "rope_theta": self.rope_theta,
            "attention_bias": self.attention_bias,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids,
            "pad_token_id": 0,
        });
        if self.generation != Generation::Gemma1 {
            config["query_pre_attn_scalar"] = json!(whole(self.query_pre_attn_scalar));
            config["sliding_window"] = json!(self.sliding_window);
            config["layer_types"] = self.layers.iter().map(|&kind| layer_type(kind)).collect();
            // Gemma 2's class has them by default, so `null` says something.
            config["attn_logit_softcapping"] = Value::Null;
            config["final_logit_softcapping"] = Value::Null;
        }
        let caps = [self.attn_logit_softcapping, self.final_logit_softcapping];
        for (key, cap) in softcap_keys(self.generation).into_iter().zip(caps) {
            if let Some(cap) = cap {
                config[key] = json!(cap);
            }
        }
        if self.generation == Generation::Gemma3 {
            config["rope_local_base_freq"] = json!(self.rope_local_theta);
        }
        if self.rope_linear_factor != 1.0 {
            config["rope_scaling"] =
                json!({"rope_type": "linear", "factor": self.rope_linear_factor});
        }
        config
    }
}

impl HfConfig {
    fn resolve(self) -> Result<GemmaConfig, String> {
        let generation = match self.model_type.as_deref() {
            Some("gemma") => Generation::Gemma1,
            Some("gemma2") => Generation::Gemma2,
            Some("gemma3" | "gemma3_text") => Generation::Gemma3,
            Some(other) => {
                return Err(format!(
                    "model_type \"{other}\" is not supported: mlxbench runs the text models of \
                     gemma, gemma2 and gemma3"
                ));
            }
            None => return Err("`model_type` is missing: is this a model's config.json?".into()),
        };
        if self.use_bidirectional_attention == Some(true) {
            return Err("bidirectional attention is not supported".into());
        }
        self.check_activation(generation)?;

        let defaults = Defaults::of(generation);
        let layers = self.layers(generation, &defaults)?;
        let hidden_size = self.hidden_size.unwrap_or(defaults.hidden_size);
        let heads = self.num_attention_heads.unwrap_or(defaults.heads);
        let head_dim = self.head_dim.unwrap_or(256);
        let by_kind = self.rope_parameters.clone().unwrap_or_default();
        let mut global = by_kind.global();
        if let Some(scaling) = self.rope_scaling.clone() {
            global.rope_type = scaling.rope_type.or(global.rope_type);
            global.factor = scaling.factor.or(global.factor);
        }
        let local = by_kind.sliding_attention.unwrap_or_default();
        if linear_factor(&local)? != 1.0 {
            return Err("RoPE scaling on sliding-window layers is not supported".into());
        }
        let rope_theta = global
            .rope_theta
            .or(self.rope_theta)
            .unwrap_or(defaults.rope_theta);
        let config = GemmaConfig {
            generation,
            vocab_size: self.vocab_size.unwrap_or(defaults.vocab_size),
            hidden_size,
            intermediate_size: self.intermediate_size.unwrap_or(defaults.intermediate_size),
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(defaults.kv_heads),
            head_dim,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            max_position_embeddings: self.max_position_embeddings.unwrap_or(defaults.context),
            query_pre_attn_scalar: match generation {
                Generation::Gemma1 => head_dim as f64,
                _ => self.query_pre_attn_scalar.unwrap_or(256.0),
            },
            layers,
            sliding_window: match generation {
                Generation::Gemma1 => None,
                _ => self.sliding_window.or(defaults.sliding_window),
            },
            rope_theta,
            rope_local_theta: match generation {
                Generation::Gemma3 => local
                    .rope_theta
                    .or(self.rope_local_base_freq)
                    .unwrap_or(1e4),
                _ => rope_theta,
            },
            rope_linear_factor: linear_factor(&global)?,
            // transformers reads the key for Gemma 3 too, and doesn't apply it.
            attn_logit_softcapping: match generation {
                Generation::Gemma2 => softcap(self.attn_logit_softcapping, defaults.attn_softcap)?,
                _ => softcap(None, self.mlxbench_attn_logit_softcapping)?,
            },
            final_logit_softcapping: match generation {
                Generation::Gemma1 => softcap(None, self.mlxbench_final_logit_softcapping)?,
                _ => softcap(self.final_logit_softcapping, defaults.final_softcap)?,
            },
            attention_bias: self.attention_bias.unwrap_or(false),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(true),
            bos_token_id: self.bos_token_id.or(Some(2)),
            eos_token_ids: self.eos_token_id.map_or_else(|| vec![1], |ids| ids.0),
        };
        config.check()?;
        Ok(config)
    }

    /// Gemma's GELU is the tanh one. Old Gemma 1 files say "gelu" and mean it all the same.
    fn check_activation(&self, generation: Generation) -> Result<(), String> {
        let names = [&self.hidden_activation, &self.hidden_act];
        for name in names.into_iter().flatten() {
            let tanh = matches!(name.as_str(), "gelu_pytorch_tanh" | "gelu_new")
                || (name == "gelu" && generation == Generation::Gemma1)
                // Gemma 2 and 3 read `hidden_activation` alone.
                || (Some(name) == self.hidden_act.as_ref() && generation != Generation::Gemma1);
            if !tanh {
                return Err(format!(
                    "activation \"{name}\" is not supported: Gemma's is gelu_pytorch_tanh"
                ));
            }
        }
        Ok(())
    }

    fn layers(
        &self,
        generation: Generation,
        defaults: &Defaults,
    ) -> Result<Vec<LayerKind>, String> {
        let count = self.num_hidden_layers.unwrap_or(defaults.layers);
        if generation == Generation::Gemma1 {
            return Ok(vec![LayerKind::Global; count]);
        }
        if let Some(types) = &self.layer_types {
            if types.len() != count {
                return Err(format!(
                    "layer_types lists {} layers, num_hidden_layers says {count}",
                    types.len()
                ));
            }
            let kinds = types.iter().map(|name| match name.as_str() {
                "full_attention" => Ok(LayerKind::Global),
                "sliding_attention" => Ok(LayerKind::Local),
                other => Err(format!("layer type \"{other}\" is not supported")),
            });
            return kinds.collect();
        }
        let pattern = match generation {
            Generation::Gemma3 => self.sliding_window_pattern.unwrap_or(defaults.pattern),
            _ => defaults.pattern,
        };
        if pattern == 0 {
            return Err("sliding_window_pattern must not be 0".into());
        }
        let kind = |layer| match (layer + 1) % pattern {
            0 => LayerKind::Global,
            _ => LayerKind::Local,
        };
        Ok((0..count).map(kind).collect())
    }
}

impl GemmaConfig {
    fn check(&self) -> Result<(), String> {
        let counts = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_layers()),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(format!("`{name}` must not be 0"));
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return Err(format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!(
                "head_dim ({}) is odd: RoPE needs pairs",
                self.head_dim
            ));
        }
        if self.layers.contains(&LayerKind::Local) && self.sliding_window.unwrap_or(0) == 0 {
            return Err("sliding-window layers need a `sliding_window` of at least 1".into());
        }
        let positive = [
            ("rope_theta", self.rope_theta),
            ("rope_local_base_freq", self.rope_local_theta),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
        ];
        if let Some((name, value)) = positive.iter().find(|(_, value)| *value <= 0.0) {
            return Err(format!("`{name}` must be greater than 0, not {value}"));
        }
        Ok(())
    }
}

fn invalid(error: serde_json::Error) -> Error {
    Error::Invalid(error.to_string())
}

/// Tells a key that is `null` (`Some(None)`) from one that is absent (`None`).
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// A soft-cap that is absent takes the default, one that is `null` is off.
fn softcap(value: Option<Option<f64>>, default: Option<f64>) -> Result<Option<f64>, String> {
    match value.unwrap_or(default) {
        Some(cap) if cap <= 0.0 => Err(format!("a soft-cap must be greater than 0, not {cap}")),
        cap => Ok(cap),
    }
}

fn linear_factor(rope: &RopeParameters) -> Result<f64, String> {
    match rope.rope_type.as_deref() {
        None | Some("default") => Ok(1.0),
        Some("linear") => match rope.factor {
            Some(factor) if factor > 0.0 => Ok(factor),
            _ => Err("linear RoPE scaling needs a `factor` greater than 0".into()),
        },
        Some(other) => Err(format!(
            "RoPE type \"{other}\" is not supported: Gemma's is linear"
        )),
    }
}

fn layer_type(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Global => "full_attention",
        LayerKind::Local => "sliding_attention",
    }
}

/// Integers without a decimal point: transformers types `query_pre_attn_scalar` as an int.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 {
        json!(number as u64)
    } else {
        json!(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;
    use crate::gemma::PRESETS;

    fn parse(json: Value) -> GemmaConfig {
        GemmaConfig::from_json(&json.to_string()).unwrap()
    }

    fn refusal(json: Value) -> String {
        GemmaConfig::from_json(&json.to_string())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn old_and_new_spellings_of_rope_mean_the_same() {
        let old = parse(json!({"model_type": "gemma3_text", "rope_theta": 5e5,
            "rope_local_base_freq": 2e4, "rope_scaling": {"type": "linear", "factor": 8.0}}));
        let new = parse(json!({"model_type": "gemma3_text", "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5e5, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}}));
        assert_eq!(old, new);
        assert_eq!(old.rope(LayerKind::Global), (5e5, 8.0));
        assert_eq!(old.rope(LayerKind::Local), (2e4, 1.0));

        let old = parse(json!({"model_type": "gemma", "rope_theta": 2e4}));
        let new = parse(json!({"model_type": "gemma",
            "rope_parameters": {"rope_type": "default", "rope_theta": 2e4}}));
        assert_eq!(old, new);
    }

    #[test]
    fn the_text_part_of_a_multimodal_file_takes_the_outer_end_tokens() {
        let config = parse(json!({"model_type": "gemma3", "eos_token_id": [1, 106],
            "vision_config": {}, "text_config": {"hidden_size": 2560, "num_hidden_layers": 34}}));
        assert_eq!(config.hidden_size, 2560);
        assert_eq!(config.num_layers(), 34);
        assert_eq!(config.eos_token_ids, [1, 106]);
    }

    #[test]
    fn layer_kinds_follow_the_pattern_of_each_generation() {
        use LayerKind::{Global, Local};
        let layers = |model_type, extra: Value| {
            let mut json = json!({"model_type": model_type, "num_hidden_layers": 4});
            json.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            parse(json).layers
        };
        assert_eq!(layers("gemma", json!({})), [Global; 4]);
        assert_eq!(layers("gemma2", json!({})), [Local, Global, Local, Global]);
        assert_eq!(layers("gemma3", json!({})), [Local; 4]);
        let three = json!({"sliding_window_pattern": 3});
        assert_eq!(layers("gemma3", three), [Local, Local, Global, Local]);
        let types = json!({"layer_types": ["full_attention", "sliding_attention",
            "full_attention", "full_attention"]});
        assert_eq!(layers("gemma2", types), [Global, Local, Global, Global]);
    }

    #[test]
    fn softcaps_are_off_when_null_and_default_when_absent() {
        let absent = parse(json!({"model_type": "gemma2"}));
        assert_eq!(absent.attn_logit_softcapping, Some(50.0));
        let null = parse(json!({"model_type": "gemma2", "attn_logit_softcapping": null}));
        assert_eq!(null.attn_logit_softcapping, None);
        assert_eq!(null.final_logit_softcapping, Some(30.0));
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let refused = [
            (json!({"model_type": "llama"}), "model_type \"llama\""),
            (json!({}), "`model_type` is missing"),
            (
                json!({"model_type": "gemma3", "use_bidirectional_attention": true}),
                "bidirectional",
            ),
            (
                json!({"model_type": "gemma2", "hidden_activation": "relu"}),
                "\"relu\"",
            ),
            (
                json!({"model_type": "gemma3", "rope_scaling": {"rope_type": "yarn"}}),
                "\"yarn\"",
            ),
            (
                json!({"model_type": "gemma", "head_dim": 7}),
                "head_dim (7)",
            ),
            (
                json!({"model_type": "gemma", "num_key_value_heads": 3}),
                "not a multiple",
            ),
            (
                json!({"model_type": "gemma", "hidden_size": 0}),
                "`hidden_size` must not be 0",
            ),
            (
                json!({"model_type": "gemma3", "sliding_window": 0}),
                "`sliding_window`",
            ),
        ];
        for (json, expected) in refused {
            let message = refusal(json);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_a_gguf_file_can_ask_for_survives_writing_and_reading() {
        for model_type in ["gemma", "gemma2", "gemma3_text"] {
            let mut config = parse(json!({"model_type": model_type}));
            config.rope_linear_factor = 4.0;
            config.attn_logit_softcapping = Some(5.0);
            config.final_logit_softcapping = Some(3.0);
            let json = config.to_json(Dtype::F32).to_string();
            assert_eq!(GemmaConfig::from_json(&json).unwrap(), config, "{json}");
        }
    }

    #[test]
    fn every_preset_survives_writing_and_reading() {
        for preset in PRESETS {
            let config = preset.config();
            let json = config.to_json(Dtype::Bf16).to_string();
            assert_eq!(
                GemmaConfig::from_json(&json).unwrap(),
                config,
                "{}",
                preset.name
            );
        }
    }
}
