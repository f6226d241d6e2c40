//! `mlxbench generate` with the candle worker on a tiny model.

use std::process::Output;

use crate::support::{Scene, stderr, stdout, worker};
use safetensors::SafeTensors;
use serde_json::Value;

fn generate(scene: &Scene, more: &[&str]) -> Output {
    worker("mlxbench-worker-candle");
    let base = [
        "generate",
        "--model",
        "model",
        "--backend",
        "candle",
        "--dtype",
        "f32",
    ];
    scene.mlxbench(&[&base[..], more].concat())
}

#[test]
fn json_has_the_documented_keys() {
    let scene = Scene::new();
    let output = generate(
        &scene,
        &[
            "--tokens",
            "2,5,9",
            "--max-tokens",
            "6",
            "--ignore-eos",
            "--json",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<_> = answer
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "backend",
            "decode_tokens_per_second",
            "device",
            "dtype",
            "peak_memory_bytes",
            "prompt_tokens",
            "text",
            "tokens",
            "ttft_ns"
        ]
    );
    assert_eq!(answer["prompt_tokens"], 3);
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 6);
    assert_eq!(answer["device"], "cpu");
    assert!(answer["text"].is_null(), "the folder has no tokenizer");
}

#[test]
fn row_i_of_the_logits_has_token_i_as_its_argmax() {
    let scene = Scene::new();
    let output = generate(
        &scene,
        &[
            "--tokens",
            "2,5,9",
            "--max-tokens",
            "6",
            "--ignore-eos",
            "--logits",
            "l.safetensors",
            "--json",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bytes = std::fs::read(scene.path("l.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("logits").unwrap();
    assert_eq!(
        (logits.shape(), logits.dtype()),
        ([6, 64].as_slice(), safetensors::Dtype::F32)
    );
    let values: Vec<f32> = logits
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let argmax = |row: &[f32]| {
        (0..row.len())
            .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            .unwrap()
    };
    let best: Vec<usize> = values.chunks(64).map(argmax).collect();
    assert_eq!(Value::from(best), answer["tokens"]);
}

#[test]
fn an_end_token_of_the_model_ends_it() {
    let scene = Scene::new();
    let free = generate(
        &scene,
        &[
            "--tokens",
            "2,5,9",
            "--max-tokens",
            "6",
            "--ignore-eos",
            "--json",
        ],
    );
    let free: Value = serde_json::from_slice(&free.stdout).unwrap();
    let third = &free["tokens"][2];
    std::fs::write(
        scene.path("model/generation_config.json"),
        format!("{{\"eos_token_id\": {third}}}"),
    )
    .unwrap();
    let ended = generate(
        &scene,
        &["--tokens", "2,5,9", "--max-tokens", "6", "--json"],
    );
    let ended: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let tokens = ended["tokens"].as_array().unwrap();
    assert!(
        tokens.len() <= 3 && tokens.last() == Some(third),
        "{tokens:?}"
    );
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let scene = Scene::new();
    for (more, expected) in [
        (["--tokens", "2,99"], "token id 99"),
        (["--prompt", "hello"], "tokenizer.json"),
    ] {
        let output = generate(&scene, &more);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let output = generate(&scene, &["--tokens", "2", "--max-tokens", "1000"]);
    assert!(
        stderr(&output).contains("context of 256"),
        "{}",
        stderr(&output)
    );
    let output = generate(&scene, &["--tokens", "2", "--device", "mps"]);
    assert!(
        stderr(&output).contains("no device `mps` here"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stdout(&output), "");
}
