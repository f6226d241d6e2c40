//! A configuration as a `config.json` that transformers and mlx-lm read.

use serde_json::{Value, json};

use super::defaults::softcap_keys;
use crate::gemma::{FlatConfig, Gemma4, GemmaConfig, Generation, LayerKind};
use crate::{Dtype, Result};

impl GemmaConfig {
    /// The configuration as a `config.json`, weights in `dtype`. What is read from it is the same
    /// configuration again.
    ///
    /// # Errors
    /// As [`GemmaConfig::flat`].
    pub fn to_json(&self, dtype: Dtype) -> Result<Value> {
        Ok(self.flat()?.to_json(dtype))
    }
}

impl FlatConfig {
    fn to_json(&self, dtype: Dtype) -> Value {
        let architecture = match self.generation {
            Generation::Gemma1 => "GemmaForCausalLM",
            Generation::Gemma2 => "Gemma2ForCausalLM",
            Generation::Gemma3 => "Gemma3ForCausalLM",
            Generation::VaultGemma => "VaultGemmaForCausalLM",
            Generation::Gemma4 => "Gemma4ForCausalLM",
        };
        let mut config = json!({
            "architectures": [architecture],
            "model_type": self.generation.model_type(),
            "torch_dtype": match dtype {
                Dtype::F32 => "float32",
                Dtype::Bf16 => "bfloat16",
                Dtype::F16 => "float16",
            },
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers.len(),
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "rms_norm_eps": self.rms_norm_eps,
            "max_position_embeddings": self.max_position_embeddings,
            "attention_bias": self.attention_bias,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_ids,
            "pad_token_id": 0,
        });
        if let Some(more) = &self.gemma4 {
            self.write_gemma4(more, &mut config);
        } else {
            config["rope_theta"] = json!(self.rope_theta);
        }
        if !matches!(self.generation, Generation::Gemma1 | Generation::Gemma4) {
            config["query_pre_attn_scalar"] = json!(whole(self.query_pre_attn_scalar));
        }
        if self.generation != Generation::Gemma1 {
            config["sliding_window"] = json!(self.sliding_window);
            config["layer_types"] = self.layers.iter().map(|kind| kind.hf_name()).collect();
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
        if self.rope_linear_factor != 1.0 && self.gemma4.is_none() {
            config["rope_scaling"] =
                json!({"rope_type": "linear", "factor": self.rope_linear_factor});
        }
        config
    }

    fn write_gemma4(&self, more: &Gemma4, config: &mut Value) {
        let mut global = json!({
            "rope_type": "proportional",
            "rope_theta": self.rope_theta,
            "partial_rotary_factor": more.partial_rotary_factor,
        });
        if self.rope_linear_factor != 1.0 {
            global["factor"] = json!(self.rope_linear_factor);
        }
        let experts = more.experts;
        let keys = json!({
            "rope_parameters": {
                "full_attention": global,
                "sliding_attention": {"rope_type": "default", "rope_theta": self.rope_local_theta},
            },
            "global_head_dim": more.global_head_dim,
            "num_global_key_value_heads": more.num_global_key_value_heads,
            "attention_k_eq_v": more.attention_k_eq_v,
            "num_kv_shared_layers": more.num_kv_shared_layers,
            "use_double_wide_mlp": more.use_double_wide_mlp,
            "hidden_size_per_layer_input": more.hidden_size_per_layer_input,
            "vocab_size_per_layer_input": more.vocab_size_per_layer_input,
            "enable_moe_block": experts.is_some(),
            "num_experts": experts.map(|experts| experts.count),
            "top_k_experts": experts.map(|experts| experts.top_k),
            "moe_intermediate_size": experts.map(|experts| experts.width),
        });
        for (key, value) in keys.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        // Without K = V the reference reads the heads of global layers here alone.
        if !more.attention_k_eq_v && more.num_global_key_value_heads != self.num_key_value_heads {
            let layers = self.layers.iter().enumerate();
            let global = layers.filter(|(_, kind)| **kind == LayerKind::Global);
            let heads = json!({"num_key_value_heads": more.num_global_key_value_heads});
            config["per_layer_config"] = global
                .map(|(layer, _)| (layer.to_string(), heads.clone()))
                .collect();
        }
    }
}

/// Integers without a decimal point: transformers types `query_pre_attn_scalar` as an int.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number < 1e15 {
        json!(number as u64)
    } else {
        json!(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::PRESETS;

    #[test]
    fn every_configuration_survives_writing_and_reading() {
        for preset in PRESETS {
            let config = preset.config();
            let changed = FlatConfig {
                rope_linear_factor: 2.5,
                attn_logit_softcapping: Some(5.0),
                final_logit_softcapping: Some(3.0),
                tie_word_embeddings: false,
                bos_token_id: None,
                eos_token_ids: Vec::new(),
                ..config.flat().unwrap()
            };
            let others = [config, changed.into()];
            for config in others {
                let json = config.to_json(Dtype::Bf16).unwrap().to_string();
                assert_eq!(
                    GemmaConfig::from_json(&json).unwrap(),
                    config,
                    "{}",
                    preset.name
                );
            }
        }
    }
}
