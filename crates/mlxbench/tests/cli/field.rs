//! Model folders that people's bug reports led to, in the Hugging Face layout: the candle worker gives
//! the logits of an independent forward pass in float64, or the message says what is wrong.
//!
//! The folders lie beside the repository, and aren't part of it. What they stand for is tested with
//! small inputs made on the spot, too: in mlxbench-core's `tests/checkpoint.rs` and `gemma/hf`.

use std::path::{Path, PathBuf};

use crate::support::{Scene, assert_golden, stderr, stdout};
use serde_json::Value;

/// The folder of a case, or `None` with a word on stderr where this machine doesn't have it.
fn case(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/field")
        .join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped {name}: {} is not here", folder.display());
    None
}

#[test]
fn each_folder_is_read_as_its_makers_meant_it() {
    // What a folder is, and what is said of it, once.
    let cases = [
        ("two-spellings-pattern", None),
        ("two-spellings-rope-type", None),
        (
            "head-untied-flag-true",
            Some("`lm_head.weight` differs from the embeddings"),
        ),
        ("head-outer-flag", None),
        ("stale-index", Some("model.safetensors is used")),
        (
            "theta-in-scaling",
            Some("`rope_scaling.rope_theta` (300) counts"),
        ),
    ];
    for (name, said) in cases {
        let Some(folder) = case(name) else { continue };
        let output = assert_golden(&Scene::new(), folder.to_str().unwrap(), &folder);
        let words = stderr(&output);
        match said {
            Some(said) => assert_eq!(words.matches(said).count(), 1, "{name}: {words}"),
            None => assert!(!words.contains("warning"), "{name}: {words}"),
        }
    }
}

#[test]
fn what_cannot_be_run_is_named_as_what_it_is() {
    let Some(folder) = case("bnb-4bit") else {
        return;
    };
    let shown = Scene::new().mlxbench(&["model", "show", folder.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(2));
    let message = stderr(&shown);
    assert!(message.contains("bitsandbytes 4-bit (nf4)"), "{message}");
    assert!(message.contains("bf16, f16 or f32"), "{message}");
}

#[test]
fn what_mlx_lm_packed_can_be_run() {
    let Some(folder) = case("mlx-4bit") else {
        return;
    };
    let shown = Scene::new().mlxbench(&["model", "show", folder.to_str().unwrap()]);
    assert!(shown.status.success(), "{}", stderr(&shown));
}

#[test]
fn a_prefix_of_peft_is_seen_through() {
    let Some(folder) = case("peft-prefix") else {
        return;
    };
    let shown = Scene::new().mlxbench(&["model", "show", folder.to_str().unwrap()]);
    assert!(shown.status.success(), "{}", stderr(&shown));
}

#[test]
fn model_show_prints_each_fact_with_its_key() {
    let scene = Scene::new();
    let config = r#"{"model_type": "gemma3_text", "vocab_size": 64, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4,
        "_sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 8},
        "rope_local_base_freq": 30.0, "tie_word_embeddings": true, "use_cache": true}"#;
    std::fs::write(scene.path("model/config.json"), config).unwrap();
    let made = scene.mlxbench(&["model", "synth", "model/config.json", "-o", "other"]);
    assert!(made.status.success(), "{}", stderr(&made));
    std::fs::write(scene.path("other/config.json"), config).unwrap();

    let text = stdout(&scene.mlxbench(&["model", "show", "other"]));
    let line = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    for (name, expected) in [
        ("output_head", "tied to the embeddings"),
        ("output_head", "tie_word_embeddings"),
        ("windows", "4, none"),
        ("windows", "_sliding_window_pattern; sliding_window"),
        ("rope_theta", "default of gemma3_text"),
        (
            "rope_linear_factor",
            "rope_scaling.rope_type, rope_scaling.factor",
        ),
        ("rope_local_theta", "rope_local_base_freq"),
        ("attention_scale", "0.0625"),
        ("final_logit_softcapping", "none"),
        ("rms_norm_eps", "default of gemma3_text"),
        ("activation", "gelu_pytorch_tanh"),
        ("attention_bias", "no"),
        ("keys that weren't used", "use_cache"),
    ] {
        assert!(line(name).contains(expected), "{name}: {}", line(name));
    }

    let json = scene.mlxbench(&["model", "show", "other", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["unused_keys"], serde_json::json!(["use_cache"]));
    let facts = json["facts"].as_array().unwrap();
    let windows = facts.iter().find(|fact| fact["name"] == "windows").unwrap();
    assert_eq!(windows["value"], serde_json::json!([4, null]));
}

#[test]
fn a_run_keeps_what_was_unusual_about_its_model() {
    let Some(folder) = case("head-untied-flag-true") else {
        return;
    };
    let scene = Scene::new();
    scene.config(&format!(
        "{}{}",
        crate::support::TEST,
        crate::support::mock("mock", &[])
    ));
    let text = std::fs::read_to_string(scene.path("config.toml")).unwrap();
    let text = text.replace("source = \"model\"", &format!("source = {folder:?}"));
    std::fs::write(scene.path("config.toml"), text).unwrap();
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let said = "`lm_head.weight` differs from the embeddings";
    let all = format!("{}{}", stdout(&run), stderr(&run)).replace('\n', " ");
    assert_eq!(
        all.matches("differs from the embeddings").count(),
        1,
        "{all}"
    );
    let result = scene.result();
    let warning = result["run"]["model"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains(said), "{warning}");
    assert_eq!(
        result["run"]["model"]["config"]["tie_word_embeddings"],
        false
    );
}
