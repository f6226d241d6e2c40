//! The shapes of Google's Gemma models, so that nobody needs a gated download to benchmark them.
//!
//! Source: the `config.json` of each model on the Hugging Face hub.

use crate::GemmaConfig;

/// A published model's name and configuration.
#[derive(Debug)]
pub struct Preset {
    /// The name used after `synthetic:` and by `mlxbench model synth`.
    pub name: &'static str,
    /// Its repository on the Hugging Face hub.
    pub hub: &'static str,
    json: &'static str,
}

impl Preset {
    /// The model's configuration.
    pub fn config(&self) -> GemmaConfig {
        GemmaConfig::from_json(self.json).expect("presets are checked by a test")
    }
}

/// The preset called `name`.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

const GEMMA_2B: &str = r#"{"model_type": "gemma", "vocab_size": 256000, "hidden_size": 2048,
    "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
    "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 8192}"#;

/// Every preset, smallest generation first.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "gemma-2b",
        hub: "google/gemma-2b",
        json: GEMMA_2B,
    },
    Preset {
        name: "gemma-1.1-2b",
        hub: "google/gemma-1.1-2b-it",
        json: GEMMA_2B,
    },
    Preset {
        name: "gemma-7b",
        hub: "google/gemma-7b",
        json: r#"{"model_type": "gemma", "vocab_size": 256000, "hidden_size": 3072,
            "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192}"#,
    },
    Preset {
        name: "gemma-2-2b",
        hub: "google/gemma-2-2b",
        json: r#"{"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304,
            "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192,
            "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}"#,
    },
    Preset {
        name: "gemma-2-9b",
        hub: "google/gemma-2-9b",
        json: r#"{"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584,
            "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 256, "max_position_embeddings": 8192,
            "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}"#,
    },
    Preset {
        name: "gemma-3-270m",
        hub: "google/gemma-3-270m",
        json: r#"{"model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 640,
            "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 32768,
            "query_pre_attn_scalar": 256, "sliding_window": 512, "sliding_window_pattern": 6,
            "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0}"#,
    },
    Preset {
        name: "gemma-3-1b",
        hub: "google/gemma-3-1b-pt",
        json: r#"{"model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152,
            "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 256, "max_position_embeddings": 32768,
            "query_pre_attn_scalar": 256, "sliding_window": 512, "sliding_window_pattern": 6,
            "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0}"#,
    },
    Preset {
        name: "gemma-3-4b",
        hub: "google/gemma-3-4b-pt",
        json: r#"{"model_type": "gemma3_text", "vocab_size": 262208, "hidden_size": 2560,
            "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
            "query_pre_attn_scalar": 256, "sliding_window": 1024, "sliding_window_pattern": 6,
            "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}}"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_the_published_ones() {
        let millions = |name| preset(name).unwrap().config().parameters() / 1_000_000;
        assert_eq!(millions("gemma-2b"), 2_506);
        assert_eq!(millions("gemma-7b"), 8_537);
        assert_eq!(millions("gemma-2-2b"), 2_614);
        assert_eq!(millions("gemma-2-9b"), 9_241);
        assert_eq!(millions("gemma-3-270m"), 268);
        assert_eq!(millions("gemma-3-1b"), 999);
        assert_eq!(millions("gemma-3-4b"), 3_880);
    }
}
