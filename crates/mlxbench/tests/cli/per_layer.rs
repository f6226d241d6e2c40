//! Gemma 4's table of per-layer embeddings on the CPU, as a user asks for it.

use serde_json::Value;

use crate::support::{Scene, TEST, stderr, stdout, worker};

/// A Gemma 4 with per-layer embeddings.
const GEMMA_4: &str = r#"{"model_type": "gemma4_text", "vocab_size": 64, "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "global_head_dim": 8, "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"], "max_position_embeddings": 256,
    "hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 64}"#;

const TARGETS: &str = "[measure]\nrepetitions = 1\nmax_warmup = 1\n\
    [[target]]\nbackend = \"candle\"\ndevice = \"cpu\"\ndtypes = [\"f32\"]\n\
    [[target]]\nbackend = \"candle\"\ndevice = \"cpu+ple-cpu\"\ndtypes = [\"f32\"]\n";

#[test]
fn the_table_is_a_targets_own_choice_and_the_result_says_where_it_is() {
    worker("mlxbench-worker-candle");
    let scene = Scene::new();
    std::fs::write(scene.path("gemma4.json"), GEMMA_4).unwrap();
    std::fs::remove_dir_all(scene.path("model")).unwrap();
    let made = scene.mlxbench(&[
        "model",
        "synth",
        "gemma4.json",
        "-o",
        "model",
        "--dtype",
        "f32",
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    scene.checked_config(&format!("{TEST}{TARGETS}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let facts = result["targets"].as_array().unwrap();
    let kernel = |device: &str| {
        let on_it = |facts: &&Value| facts["id"]["placement"]["device"] == device;
        let facts = facts.iter().find(on_it).unwrap();
        facts["kernels"]["per-layer embeddings"].as_str()
    };
    let way = "table in the host's memory, rows gathered by the CPU";
    assert_eq!((kernel("cpu"), kernel("cpu+ple-cpu")), (None, Some(way)));
    let known = result["equivalences"].as_array().unwrap().iter();
    let verdicts: Vec<&Value> = known.map(|known| &known["verdict"]).collect();
    assert_eq!(verdicts, ["reference", "identical"]);
    let shown = stdout(&run);
    assert!(
        shown.contains("candle f32 (per-layer table on CPU)"),
        "{shown}"
    );
}

#[test]
fn a_model_without_the_table_fails_the_target_before_anything_is_loaded() {
    worker("mlxbench-worker-candle");
    let scene = Scene::new();
    scene.config(&format!("{TEST}{TARGETS}"));
    let says = "`cpu+ple-cpu` keeps the table of per-layer embeddings on the CPU, and this model has none: write `cpu`";
    let dry = scene.mlxbench(&["run", "config.toml", "--dry-run"]);
    assert!(
        stdout(&dry).contains(&format!("fails: {says}")),
        "{}",
        stdout(&dry)
    );
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    assert_eq!(scene.result()["failures"][0]["message"], says);
    let placed = [
        "--backend",
        "candle",
        "--device",
        "cpu+ple-cpu",
        "--tokens",
        "2",
    ];
    let generated = scene.mlxbench(&[&["generate", "--model", "model"], &placed[..]].concat());
    assert_eq!(generated.status.code(), Some(3));
    assert!(stderr(&generated).contains(says), "{}", stderr(&generated));
}
