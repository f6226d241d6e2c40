//! Configurations as people have them.

use super::*;

fn parse(json: Value) -> ConfigFile {
    ConfigFile::parse(&json.to_string()).unwrap()
}

fn refusal(json: Value) -> String {
    ConfigFile::parse(&json.to_string())
        .unwrap_err()
        .to_string()
}

fn fact<'a>(file: &'a ConfigFile, name: &str) -> &'a Fact {
    let fact = file.facts.iter().find(|fact| fact.name == name);
    fact.unwrap_or_else(|| panic!("no fact {name}"))
}

#[test]
fn every_fact_has_the_key_it_came_from() {
    let file = parse(
        json!({"model_type": "gemma3_text", "num_hidden_layers": 2, "vocab_size": 96,
        "sliding_window": 8, "_sliding_window_pattern": 2, "rope_local_base_freq": 30.0,
        "query_pre_attn_scalar": 16, "use_cache": true}),
    );
    let windows = fact(&file, "windows");
    assert_eq!(windows.value, json!([8, null]));
    assert_eq!(windows.from, "_sliding_window_pattern; sliding_window");
    assert_eq!(fact(&file, "attention_scale").value, 0.25);
    assert_eq!(fact(&file, "attention_scale").from, "query_pre_attn_scalar");
    assert_eq!(fact(&file, "rope_theta").from, "default of gemma3_text");
    assert_eq!(fact(&file, "rope_local_theta").from, "rope_local_base_freq");
    assert_eq!(fact(&file, "output_head").from, "default of gemma3_text");
    assert_eq!(file.unused, ["use_cache"]);
}

#[test]
fn the_text_part_of_a_multimodal_file_takes_the_outer_end_tokens() {
    let file = parse(json!({"model_type": "gemma3", "eos_token_id": [1, 106],
        "vision_config": {}, "text_config": {"hidden_size": 2560, "num_hidden_layers": 34,
        "eos_token_id": 1}}));
    assert_eq!(file.config.hidden_size, 2560);
    assert_eq!(file.config.num_layers(), 34);
    assert_eq!(file.config.eos_token_ids, [1, 106]);
    assert_eq!(fact(&file, "hidden_size").from, "text_config.hidden_size");
    assert_eq!(file.unused, ["vision_config"]);
}

#[test]
fn the_outer_flag_governs_the_head_of_a_multimodal_file() {
    let tied = |outer: Value, inner: Value| {
        let file = parse(json!({"model_type": "gemma3", "tie_word_embeddings": outer,
            "text_config": {"tie_word_embeddings": inner}}));
        (file.config.tie_word_embeddings, file.head.from)
    };
    let outer = "tie_word_embeddings".to_owned();
    let inner = "text_config.tie_word_embeddings".to_owned();
    assert_eq!(tied(json!(false), Value::Null), (false, outer.clone()));
    assert_eq!(tied(json!(false), json!(true)), (false, outer.clone()));
    assert_eq!(tied(json!(true), json!(false)), (true, outer));
    assert_eq!(tied(Value::Null, json!(false)), (false, inner));
    assert!(tied(Value::Null, Value::Null).0);
}

#[test]
fn softcaps_are_off_when_null_and_default_when_absent() {
    let absent = parse(json!({"model_type": "gemma2"}))
        .config
        .flat()
        .unwrap();
    assert_eq!(absent.attn_logit_softcapping, Some(50.0));
    let null = parse(json!({"model_type": "gemma2", "attn_logit_softcapping": null}));
    assert_eq!(null.config.flat().unwrap().attn_logit_softcapping, None);
    assert_eq!(null.config.final_logit_softcapping, Some(30.0));
    assert_eq!(
        fact(&null, "attn_logit_softcapping").from,
        "attn_logit_softcapping"
    );
    assert!(null.unused.is_empty());
}

#[test]
fn a_softcap_that_the_reference_passes_over_is_told() {
    let file = parse(
        json!({"model_type": "gemma3", "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 2.0}),
    );
    assert_eq!(file.config.flat().unwrap().attn_logit_softcapping, None);
    assert_eq!(file.config.final_logit_softcapping, Some(2.0));
    assert!(file.warnings[0].contains("`attn_logit_softcapping` (50)"));
    assert_eq!(file.unused, ["attn_logit_softcapping"]);
}

#[test]
fn null_means_what_the_reference_classes_make_of_it() {
    let file = parse(
        json!({"model_type": "gemma", "hidden_activation": null, "rope_scaling": null,
        "num_hidden_layers": null, "bos_token_id": null, "eos_token_id": null}),
    );
    assert_eq!(file.config.num_layers(), 28);
    assert_eq!(file.config.bos_token_id, None);
    assert!(file.config.eos_token_ids.is_empty());
    let window = json!({"model_type": "gemma2", "sliding_window": null});
    assert!(refusal(window).contains("`sliding_window`"));
    let global = json!({"model_type": "gemma2", "sliding_window": null, "num_hidden_layers": 1,
        "layer_types": ["full_attention"]});
    assert_eq!(parse(global).config.layers[0].attention.window, None);
}

#[test]
fn a_window_without_layers_that_have_one_is_not_used() {
    let file = parse(json!({"model_type": "gemma", "sliding_window": 8}));
    assert!(
        file.config
            .layers
            .iter()
            .all(|layer| layer.attention.window.is_none())
    );
    assert_eq!(file.unused, ["sliding_window"]);
}

#[test]
fn two_spellings_that_agree_load_and_others_are_told() {
    let both = |pattern: usize, dtype: &str| {
        json!({"model_type": "gemma3_text", "sliding_window_pattern": 6,
            "_sliding_window_pattern": pattern, "torch_dtype": "bfloat16", "dtype": dtype})
    };
    parse(both(6, "bfloat16"));
    let message = refusal(both(3, "bfloat16"));
    assert!(
        message.contains("`sliding_window_pattern` says 6")
            && message.contains("`_sliding_window_pattern` says 3"),
        "{message}"
    );
    assert!(refusal(both(6, "float32")).contains("`torch_dtype`"));
}

#[test]
fn keys_that_transformers_does_not_read_are_told_where_it_matters() {
    let warnings = |key: &str, value: Value| {
        let mut json = json!({"model_type": "gemma3_text", "num_hidden_layers": 6});
        json[key] = value;
        parse(json).warnings
    };
    for (key, value, otherwise) in [
        (
            "_sliding_window_pattern",
            json!(2),
            "every 6th layer is global",
        ),
        ("sliding_window_size", json!(8), "the window is 4096"),
        ("rope_global_base_freq", json!(5e3), "the base is 1000000"),
    ] {
        let found = warnings(key, value);
        assert_eq!(found.len(), 1, "{found:?}");
        let starts = found[0].starts_with(&format!("`{key}` counts here"));
        assert!(starts && found[0].ends_with(otherwise), "{found:?}");
    }
    for (key, value) in [
        ("_sliding_window_pattern", json!(6)),
        ("sliding_window_size", json!(4096)),
        ("rope_global_base_freq", json!(1e6)),
        ("sliding_window_pattern", json!(2)),
    ] {
        assert!(warnings(key, value).is_empty(), "{key}");
    }
}

#[test]
fn the_first_token_must_be_one() {
    let of = |bos: Value| json!({"model_type": "gemma", "vocab_size": 96, "bos_token_id": bos});
    assert_eq!(parse(of(json!([3]))).config.bos_token_id, Some(3));
    assert_eq!(parse(of(json!(0))).config.bos_token_id, Some(0));
    let message = refusal(of(json!(96)));
    assert!(
        message.contains("`bos_token_id` is 96") && message.contains("96 tokens"),
        "{message}"
    );
    let message = refusal(of(json!([2, 3])));
    assert!(
        message.contains("`bos_token_id` lists 2 tokens"),
        "{message}"
    );
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let refused = [
        (json!([]), "not a JSON object"),
        (json!({"model_type": "llama"}), "model_type \"llama\""),
        (json!({}), "`model_type` is missing"),
        (
            json!({"model_type": "paligemma", "text_config": {"model_type": "gemma"}}),
            "model_type \"paligemma\"",
        ),
        (
            json!({"model_type": "gemma3_text", "text_config": {}}),
            "there is a `text_config`",
        ),
        (
            json!({"model_type": "gemma3", "use_bidirectional_attention": true}),
            "`use_bidirectional_attention`",
        ),
        (
            json!({"model_type": "gemma2", "hidden_activation": "relu"}),
            "\"relu\"",
        ),
        (
            json!({"model_type": "gemma3", "hidden_act": "silu"}),
            "\"silu\"",
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
            json!({"model_type": "gemma", "num_hidden_layers": 4_000_000_000_u64}),
            "`num_hidden_layers` is 4000000000",
        ),
        (
            json!({"model_type": "gemma", "vocab_size": 1e18 as u64}),
            "`vocab_size`",
        ),
        (
            json!({"model_type": "gemma", "num_attention_heads": -4}),
            "`num_attention_heads` must be a whole number",
        ),
        (
            json!({"model_type": "gemma", "rope_theta": 1e300}),
            "`rope_theta`",
        ),
        (
            json!({"model_type": "gemma3", "sliding_window": 0}),
            "`sliding_window`",
        ),
        (
            json!({"model_type": "gemma", "final_logit_softcapping": 30.0}),
            "`final_logit_softcapping`",
        ),
        (
            json!({"model_type": "gemma3", "text_config": {"logit_scale": 0.1}}),
            "`text_config.logit_scale`",
        ),
        (
            json!({"model_type": "gemma3", "quantization_config": {"quant_method": "gptq"},
                "text_config": {}}),
            "GPTQ",
        ),
        (
            json!({"model_type": "gemma", "eos_token_id": [1, -1]}),
            "`eos_token_id` must be a token id",
        ),
    ];
    for (json, expected) in refused {
        let message = refusal(json);
        assert!(message.contains(expected), "{message}");
    }
}

/// The keys of files on the hub, with small numbers.
#[test]
fn files_of_the_hub_load() {
    let files = [
        // google/gemma-1.1-2b-it
        json!({"architectures": ["GemmaForCausalLM"], "attention_bias": false,
            "attention_dropout": 0.0, "bos_token_id": 2, "eos_token_id": 1, "head_dim": 256,
            "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2048,
            "initializer_range": 0.02, "intermediate_size": 16384,
            "max_position_embeddings": 8192, "model_type": "gemma", "num_attention_heads": 8,
            "num_hidden_layers": 18, "num_key_value_heads": 1, "pad_token_id": 0,
            "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 10000.0,
            "torch_dtype": "bfloat16", "transformers_version": "4.38.1", "use_cache": true,
            "vocab_size": 256000}),
        // google/gemma-2-9b as first published, and unsloth's
        json!({"architectures": ["Gemma2ForCausalLM"], "attention_bias": false,
            "attention_dropout": 0.0, "attn_logit_softcapping": 50.0, "bos_token_id": 2,
            "cache_implementation": "hybrid", "eos_token_id": 1, "final_logit_softcapping": 30.0,
            "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 3584,
            "initializer_range": 0.02, "intermediate_size": 14336,
            "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 16,
            "num_hidden_layers": 42, "num_key_value_heads": 8, "pad_token_id": 0,
            "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
            "sliding_window": 4096, "sliding_window_size": 4096, "torch_dtype": "bfloat16",
            "transformers_version": "4.42.0.dev0", "unsloth_version": "2024.9",
            "_name_or_path": "google/gemma-2-9b", "use_cache": true, "vocab_size": 256000}),
        // google/gemma-3-270m
        json!({"_sliding_window_pattern": 6, "architectures": ["Gemma3ForCausalLM"],
            "attention_bias": false, "attention_dropout": 0.0, "attn_logit_softcapping": null,
            "bos_token_id": 2, "eos_token_id": 1, "final_logit_softcapping": null,
            "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 640,
            "initializer_range": 0.02, "intermediate_size": 2048, "layer_types":
            ["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
            "sliding_attention", "full_attention"], "max_position_embeddings": 32768,
            "model_type": "gemma3_text", "num_attention_heads": 4, "num_hidden_layers": 6,
            "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000.0, "rope_scaling": null,
            "rope_theta": 1000000.0, "sliding_window": 512, "torch_dtype": "bfloat16",
            "transformers_version": "4.55.0.dev0", "use_bidirectional_attention": false,
            "use_cache": true, "vocab_size": 262144}),
        // google/gemma-3-4b-it
        json!({"architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999,
            "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144,
            "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
            "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
            "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
            "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
            "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
            "model_type": "siglip_vision_model", "num_attention_heads": 16,
            "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": false}}),
        // A model of mlx-community's in bf16, with the first names of mlx-lm
        json!({"model_type": "gemma3", "image_token_index": 262144, "hidden_size": 2560,
            "pad_token_id": 0, "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
            "num_hidden_layers": 34, "intermediate_size": 10240, "num_attention_heads": 8,
            "head_dim": 256, "rms_norm_eps": 1e-6, "vocab_size": 262208,
            "num_key_value_heads": 4, "rope_global_base_freq": 1000000.0,
            "rope_local_base_freq": 10000.0, "rope_traditional": false,
            "query_pre_attn_scalar": 256, "sliding_window": 1024,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "mm_tokens_per_image": 256, "sliding_window_pattern": 6},
            "vision_config": {"model_type": "siglip_vision_model", "skip_vision": false}}),
        // As transformers 5 saves a multimodal one
        json!({"model_type": "gemma3", "dtype": "bfloat16", "eos_token_id": [1, 106],
            "tie_word_embeddings": true, "text_config": {"_sliding_window_pattern": 6,
            "attention_bias": false, "attention_dropout": 0.0, "attn_logit_softcapping": null,
            "bos_token_id": 2, "dtype": "bfloat16", "eos_token_id": 1,
            "final_logit_softcapping": null, "model_type": "gemma3_text", "num_hidden_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"], "pad_token_id": 0,
            "rope_parameters": {"full_attention": {"factor": 8.0, "rope_theta": 1000000.0,
            "rope_type": "linear"}, "sliding_attention": {"rope_theta": 10000.0,
            "rope_type": "default"}}, "tie_word_embeddings": true,
            "use_bidirectional_attention": false, "use_cache": true}, "unsloth_fixed": true}),
    ];
    for file in files {
        let read = parse(file);
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
        assert!(!read.unused.is_empty());
    }
}
