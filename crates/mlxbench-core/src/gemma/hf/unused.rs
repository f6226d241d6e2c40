//! Keys that nothing was derived from. Those that are known to change no logit of the text model are
//! listed here, and here only; any other key could change the work, and is an error.
//!
//! The rule holds for the object of the text model (the whole file, or `text_config`) and for those
//! of RoPE. Outside `text_config` a multimodal file describes what isn't run. A key that is `null`
//! says nothing; one that begins with `_` is a note of the library that wrote it.

use serde_json::{Value, json};

use super::keys::{Keys, shown};

/// Keys that change no logit in inference, whatever their value.
const HARMLESS: &[&str] = &[
    // What wrote the file, and for which class.
    "architectures",
    "model_name",
    "name_or_path",
    "transformers.js_config",
    "transformers_version",
    "use_bfloat16",
    // Training.
    "attention_dropout",
    "embedding_dropout",
    "gradient_checkpointing",
    "hidden_dropout",
    "initializer_range",
    "output_router_logits",
    "router_aux_loss_coef",
    "lora_dropout",
    "neftune_noise_alpha",
    // How a framework is to run it, not what it is to compute.
    "allow_global_per_layer_attribute_access",
    "attn_implementation",
    "cache_implementation",
    "chunk_size_feed_forward",
    "output_attentions",
    "output_hidden_states",
    "pretraining_tp",
    "return_dict",
    "serialize_explicit_per_layer_config",
    "torchscript",
    "use_cache",
    "use_flash_attention_2",
    // Tokens and texts: the tokenizer's, or for padding and masking.
    "bos_token",
    "decoder_start_token_id",
    "eos_token",
    "mask_token_id",
    "max_seq_length",
    "max_sequence_length",
    "model_max_length",
    "pad_token",
    "pad_token_id",
    "prefix",
    "sep_token_id",
    "tokenizer_class",
    "tokenizer_model_max_length",
    "tokenizer_padding_side",
    "unk_token_id",
    // Other tasks' heads.
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    // The image part, where a text model's file was made from a multimodal one's.
    "audio_config",
    "audio_token_id",
    "boa_token_id",
    "boa_token_index",
    "boi_token_id",
    "boi_token_index",
    "eoa_token_id",
    "eoa_token_index",
    "eoi_token_id",
    "eoi_token_index",
    "image_seq_length",
    "image_token_id",
    "image_token_index",
    "mm_tokens_per_image",
    "num_image_tokens",
    "video_token_id",
    "vision_config",
    "vision_soft_tokens_per_image",
    // Gemma 1 has no layers that these could act on; the others read them.
    "sliding_window",
    "sliding_window_size",
    // How to sample, which old versions of transformers kept here.
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_p",
    "no_repeat_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "target_lookbehind",
    "temperature",
    "tf_legacy_loss",
    "top_k",
    "top_p",
    "typical_p",
];

/// Beginnings of keys that tools leave as notes.
const NOTES: [&str; 2] = ["_", "unsloth_"];

/// Keys of RoPE's objects that types other than `default` and `linear` read, and no Gemma uses.
const HARMLESS_IN_ROPE: &[&str] = &[
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "finetuned",
    "high_freq_factor",
    "long_factor",
    "low_freq_factor",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "short_factor",
    "truncate",
];

/// Keys that would change the work, with the value at which they don't.
fn neutral(key: &str) -> Option<Value> {
    Some(match key {
        "add_cross_attention" | "is_encoder_decoder" => json!(false),
        "enable_moe_block" | "mlp_bias" | "rope_traditional" | "tie_encoder_decoder" => {
            json!(false)
        }
        "attention_k_eq_v" | "is_decoder" | "use_bidirectional_attention" => json!(false),
        "use_double_wide_mlp" => json!(false),
        "is_causal" => json!(true),
        "partial_rotary_factor" => json!(1.0),
        "num_kv_shared_layers" | "hidden_size_per_layer_input" => json!(0),
        "pruned_heads" => json!({}),
        _ => return None,
    })
}

/// The places of the keys that `keys` has left over.
///
/// # Errors
/// When one could change the work.
pub(super) fn check(keys: &Keys<'_>) -> Result<Vec<String>, String> {
    leftovers(keys, HARMLESS)
}

/// The same for an object of RoPE's.
///
/// # Errors
/// When one could change the work.
pub(super) fn check_rope(keys: &Keys<'_>) -> Result<Vec<String>, String> {
    leftovers(keys, HARMLESS_IN_ROPE)
}

/// The same for what `per_layer_config` says of a layer.
///
/// # Errors
/// When there is any: nothing else may differ by layer.
pub(super) fn check_per_layer(keys: &Keys<'_>) -> Result<(), String> {
    let unknown = keys.rest().find(|(_, value)| !value.is_null());
    unknown.map_or(Ok(()), |(key, value)| {
        Err(format!(
            "`{}` ({}): heads alone may differ by layer",
            keys.place_of(key),
            shown(value)
        ))
    })
}

fn leftovers(keys: &Keys<'_>, harmless: &[&str]) -> Result<Vec<String>, String> {
    let mut unused = Vec::new();
    for (key, value) in keys.rest() {
        let place = keys.place_of(key);
        let note = NOTES.iter().any(|start| key.starts_with(start));
        if !value.is_null() && !note && !harmless.contains(&key) {
            check_neutral(&place, key, value)?;
        }
        unused.push(place);
    }
    Ok(unused)
}

fn check_neutral(place: &str, key: &str, value: &Value) -> Result<(), String> {
    // Images alone would see what comes after them.
    if key == "use_bidirectional_attention" && value == "vision" {
        return Ok(());
    }
    let same = |neutral: &Value| match (neutral.as_f64(), value.as_f64()) {
        (Some(neutral), Some(value)) => neutral == value,
        _ => neutral == value,
    };
    match neutral(key) {
        Some(neutral) if same(&neutral) => Ok(()),
        Some(neutral) => Err(format!(
            "`{place}` is {}, and mlxbench runs {neutral} only",
            shown(value)
        )),
        None => Err(format!(
            "mlxbench doesn't know the key `{place}` ({}), which could change what the model \
             computes: where it is known not to matter, remove it from config.json",
            shown(value)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &Value) -> Result<Vec<String>, String> {
        check(&Keys::new("text_config.", value.as_object().unwrap()))
    }

    #[test]
    fn harmless_keys_are_told_with_their_place() {
        let value = json!({"use_cache": true, "_name_or_path": "x", "logit_scale": null,
            "unsloth_version": "1", "partial_rotary_factor": 1});
        let unused = of(&value).unwrap();
        assert!(
            unused.contains(&"text_config.use_cache".to_owned()),
            "{unused:?}"
        );
        assert_eq!(unused.len(), 5);
    }

    #[test]
    fn a_key_that_could_change_the_work_is_refused() {
        let message = of(&json!({"logit_scale": 0.5})).unwrap_err();
        assert!(
            message.contains("`text_config.logit_scale` (0.5)") && message.contains("remove it"),
            "{message}"
        );
        let message = of(&json!({"partial_rotary_factor": 0.5})).unwrap_err();
        assert!(
            message.contains("is 0.5, and mlxbench runs 1.0 only"),
            "{message}"
        );
    }

    #[test]
    fn no_key_is_listed_twice() {
        let mut sorted = HARMLESS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), HARMLESS.len());
    }
}
