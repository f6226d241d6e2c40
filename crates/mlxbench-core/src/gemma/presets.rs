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

/// Four local layers and a global one.
macro_rules! four_to_one {
    () => {
        r#""sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
            "full_attention""#
    };
}

/// E2B's 35 layers. The others have five local layers to one global, which is the default.
const GEMMA_4_E2B: &str = concat!(
    r#"{"model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 1536,
    "intermediate_size": 6144, "num_hidden_layers": 35, "num_attention_heads": 8,
    "num_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512,
    "max_position_embeddings": 131072, "sliding_window": 512, "final_logit_softcapping": 30.0,
    "hidden_size_per_layer_input": 256, "num_kv_shared_layers": 20, "use_double_wide_mlp": true,
    "layer_types": ["#,
    four_to_one!(),
    ",",
    four_to_one!(),
    ",",
    four_to_one!(),
    ",",
    four_to_one!(),
    ",",
    four_to_one!(),
    ",",
    four_to_one!(),
    ",",
    four_to_one!(),
    "]}"
);

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
    Preset {
        name: "gemma-4-e2b",
        hub: "google/gemma-4-E2B-it",
        json: GEMMA_4_E2B,
    },
    Preset {
        name: "gemma-4-e4b",
        hub: "google/gemma-4-E4B-it",
        json: r#"{"model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 2560,
            "intermediate_size": 10240, "num_hidden_layers": 42, "num_attention_heads": 8,
            "num_key_value_heads": 2, "head_dim": 256, "global_head_dim": 512,
            "max_position_embeddings": 131072, "sliding_window": 512,
            "final_logit_softcapping": 30.0, "hidden_size_per_layer_input": 256,
            "num_kv_shared_layers": 18}"#,
    },
    Preset {
        name: "gemma-4-12b",
        hub: "google/gemma-4-12B-it",
        json: r#"{"model_type": "gemma4_unified_text", "vocab_size": 262144, "hidden_size": 3840,
            "intermediate_size": 15360, "num_hidden_layers": 48, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 256, "global_head_dim": 512,
            "num_global_key_value_heads": 1, "attention_k_eq_v": true,
            "max_position_embeddings": 262144, "sliding_window": 1024,
            "final_logit_softcapping": 30.0}"#,
    },
    Preset {
        name: "gemma-4-26b-a4b",
        hub: "google/gemma-4-26B-A4B-it",
        json: r#"{"model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 2816,
            "intermediate_size": 2112, "num_hidden_layers": 30, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 256, "global_head_dim": 512,
            "num_global_key_value_heads": 2, "attention_k_eq_v": true,
            "max_position_embeddings": 262144, "sliding_window": 1024,
            "final_logit_softcapping": 30.0, "hidden_size_per_layer_input": 0,
            "enable_moe_block": true, "num_experts": 128, "top_k_experts": 8,
            "moe_intermediate_size": 704}"#,
    },
    Preset {
        name: "gemma-4-31b",
        hub: "google/gemma-4-31B-it",
        json: r#"{"model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 5376,
            "intermediate_size": 21504, "num_hidden_layers": 60, "num_attention_heads": 32,
            "num_key_value_heads": 16, "head_dim": 256, "global_head_dim": 512,
            "num_global_key_value_heads": 4, "attention_k_eq_v": true,
            "max_position_embeddings": 262144, "sliding_window": 1024,
            "final_logit_softcapping": 30.0, "hidden_size_per_layer_input": 0}"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

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
        // Of Gemma 4's text models: 4.63, 7.46, 11.9, 25.2 and 30.7 billion.
        assert_eq!(millions("gemma-4-e2b") / 10, 462);
        assert_eq!(millions("gemma-4-e4b") / 10, 746);
        assert_eq!(millions("gemma-4-12b") / 100, 119);
        assert_eq!(millions("gemma-4-26b-a4b") / 100, 252);
        assert_eq!(millions("gemma-4-31b") / 100, 306);
    }

    /// The weights by transformers 5.23 of the same shapes (`numel` of `Gemma4ForCausalLM` on the meta device): all but
    /// `embed_tokens_per_layer` and 120 of 128 experts. Beside them are scalars, and a row of that table.
    #[test]
    fn a_decoded_token_reads_neither_other_tokens_embeddings_nor_other_experts() {
        let read = |name| {
            let config = preset(name).unwrap().config();
            let storage = config.storage(Dtype::Bf16.into());
            let cache = config.kv_read_bytes(Dtype::Bf16, 1, 1);
            (config.decode_step_bytes(&storage, 1, 0) - cache) as f64 / 2.0
        };
        for (name, expected) in [
            ("gemma-4-e2b", 2_279_759_104.0),
            ("gemma-4-e4b", 4_644_441_088.0),
            ("gemma-4-12b", 11_907_350_272.0),
            ("gemma-4-26b-a4b", 3_822_530_560.0),
            ("gemma-4-31b", 30_697_345_280.0),
        ] {
            let read = read(name);
            assert!((read / expected - 1.0).abs() < 5e-5, "{name}: {read}");
        }
    }
}
