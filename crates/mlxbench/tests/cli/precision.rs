//! Quantised weights: a precision like the others, on the mock, which computes nothing; a refusal in one line
//! on a framework.

use crate::support::{Scene, TEST, mock, stderr, stdout, worker};
use serde_json::Value;

/// The mock in these dtypes, compared with itself in the first.
fn config(scene: &Scene, dtypes: &str) {
    let target = mock("mock", &[]).replace("[\"f32\"]", dtypes);
    let rest = "[measure]\nrepetitions = 1\nmax_warmup = 1\n[roofline]\nseconds = 0.001\n\
        [equivalence]\nreference = \"mock/cpu/f32\"\n";
    scene.whole_config(&format!("{rest}{TEST}{target}"));
}

#[test]
fn a_quantised_target_is_named_filtered_and_counted_as_one() {
    let scene = Scene::new();
    config(&scene, "[\"f32\", \"q4-bf16\", \"q8-f32\"]");

    let run = scene.mlxbench(&["run", "config.toml", "--json", "--filter", "q4-bf16"]);

    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(result["schema_version"], 3);
    let sample = &result["samples"][0];
    assert_eq!(
        sample["target"]["placement"],
        serde_json::json!({"device": "cpu", "precision": "q4-bf16"})
    );
    assert_eq!(sample["test"]["kind"], "generate");
    assert_eq!(result["samples"].as_array().unwrap().len(), 1);
    let shown: Value = serde_json::from_slice(&run.stdout).unwrap();
    let row = &shown["summary"]["rows"][1];
    // Codes of 4 bits and a scale a row of each matrix (the widths are below a group's 64), a byte and a
    // scale for the table, norms and cache in bf16.
    let layer =
        (24 + 8 + 8) * (16 / 2 + 2) + 16 * (24 / 2 + 2) + 2 * 24 * (16 / 2 + 2) + 16 * (24 / 2 + 2);
    let norms = 2 * (2 * (4 * 16 + 2 * 8) + 16);
    let weights = 2 * layer + 64 * (16 + 2) + norms;
    // A window of four, and all of the twelve.
    let cache = 2 * 2 * 8 * (4 + 12);
    assert_eq!(row["memory_floor_bytes"], weights + cache, "{row}");
}

#[test]
fn quantised_weights_are_held_against_their_own_codes_and_say_what_they_cost() {
    let scene = Scene::new();
    config(&scene, "[\"f32\", \"q8-f32\"]");
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let known = result["equivalences"][1].clone();
    assert_eq!(known["verdict"], "equivalent");
    assert_eq!(known["fidelity"]["agreeing_positions"], 32);
    // The other verdict: what it costs can't be told without a tokenizer.
    let cost = &result["quantisation_costs"][0];
    assert_eq!(cost["weights"], "q8");
    let reason = cost["reason"].as_str().unwrap();
    assert!(reason.contains("tokenizer.json"), "{reason}");
    let shown = stdout(&run);
    assert!(shown.contains("mock q8-f32"), "{shown}");
    assert!(shown.contains("fidelity of q8: none"), "{shown}");
}

/// Puts a tokenizer of the words a, b and c beside the scene's model.
fn with_tokenizer(scene: &Scene) {
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "truncation": null, "padding": null, "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<unk>": 3, "a": 10, "b": 11, "c": 12}, "unk_token": "<unk>"},
    });
    std::fs::write(scene.path("model/tokenizer.json"), tokenizer.to_string()).unwrap();
}

#[test]
fn a_text_shows_what_quantised_weights_cost() {
    let scene = Scene::new();
    let text = "[quantisation]\ntext = \"text.txt\"\npositions = 1\n";
    config(&scene, "[\"f32\", \"q4-f32\", \"native-f32\"]");
    let path = scene.path("config.toml");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{text}")).unwrap();
    // A text that is named must be there.
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stderr(&run).contains("text.txt"), "{}", stderr(&run));

    std::fs::write(scene.path("text.txt"), "a b c ".repeat(200)).unwrap();
    with_tokenizer(&scene);
    let run = scene.mlxbench(&["run", "config.toml"]);
    let result = scene.result();
    let costs = &result["quantisation_costs"];
    let of = |weights: &str| {
        let mut costs = costs.as_array().unwrap().iter();
        costs
            .find(|cost| cost["weights"] == weights)
            .unwrap()
            .clone()
    };
    // The mock computes the same whatever its weights are.
    let figures = &of("q4")["figures"];
    assert_eq!(figures["text"], "text.txt", "{}", stderr(&run));
    assert_eq!(figures["mean_kl"], 0.0);
    assert_eq!(figures["same_top_positions"], figures["positions"]);
    assert_eq!(figures["perplexity"], figures["full_perplexity"]);
    let native = of("native");
    assert!(native["figures"].is_null());
    assert!(native["reason"].as_str().unwrap().contains("aren't here"));
}

#[test]
fn a_reference_is_never_quantised() {
    let scene = Scene::new();
    config(&scene, "[\"q8-f32\"]");
    let path = scene.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("mock/cpu/f32", "mock/cpu/q8-f32");
    std::fs::write(&path, text).unwrap();
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    let said = stderr(&run);
    assert!(
        said.contains("quantised weights are no reference"),
        "{said}"
    );
}

#[test]
fn a_precision_that_an_adapter_has_not_is_refused_in_a_line() {
    let reason = "libtorch has no products with weights as a quantised checkpoint stores them: write f32 or \
                  bf16 for what they stand for";
    worker("mlxbench-worker-tch");
    let scene = Scene::new();
    let tch = "[[target]]\nbackend = \"tch\"\ndevice = \"cpu\"\ndtypes = [\"native-bf16\"]\n";
    scene.config(&format!("{TEST}{tch}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let line = format!("tch/cpu/native-bf16: unsupported: {reason}");
    assert!(
        stderr(&run).lines().any(|said| said == line),
        "{}",
        stderr(&run)
    );

    let generate = |backend: &str, dtype: &str| {
        let model = ["generate", "--model", "model", "--backend", backend];
        let prompt = ["--tokens", "2,5", "--device", "cpu", "--dtype", dtype];
        scene.mlxbench(&[&model[..], &prompt].concat())
    };
    let refused = generate("tch", "native-f32");
    assert_eq!(refused.status.code(), Some(2));
    let line = format!("error: tch: no native-f32 on cpu: {reason}");
    assert_eq!(stderr(&refused).trim(), line);
    let vague = generate("tch", "q4");
    assert_eq!(vague.status.code(), Some(2));
    let instead = "q4 needs a compute dtype: write q4-f32, q4-bf16 or q4-f16";
    assert!(stderr(&vague).contains(instead), "{}", stderr(&vague));
    // What the model hasn't is told by whoever could take it.
    worker("mlxbench-worker-candle");
    let plain = generate("candle", "native-f32");
    assert_eq!(plain.status.code(), Some(3), "{}", stderr(&plain));
    let says = "these are plain numbers: write f32";
    assert!(stderr(&plain).contains(says), "{}", stderr(&plain));

    let doctor = stdout(&scene.mlxbench(&["doctor"]));
    let line = format!("    native-f32, native-bf16, native-f16: no: {reason}");
    assert!(doctor.lines().any(|said| said == line), "{doctor}");
}

#[test]
fn a_config_is_told_what_to_write_for_a_dtype_by_another_name() {
    let scene = Scene::new();
    config(&scene, "[\"f32\", \"fp16\"]");
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(2));
    let said = stderr(&run);
    assert!(said.contains("unknown dtype `fp16`: write f16"), "{said}");
    assert!(said.contains("dtypes = [\"f32\", \"fp16\"]"), "{said}");
}

#[test]
fn a_journal_of_an_older_version_is_left_to_its_own_build() {
    let scene = Scene::new();
    config(&scene, "[\"f32\"]");
    let journal = include_str!("../../../mlxbench-core/tests/results/v2.journal.jsonl");
    let folder = scene.path("results/scene");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("20261126T015646.550Z.journal.jsonl"), journal).unwrap();
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(2));
    let said = stderr(&run);
    assert!(
        said.contains("an older mlxbench wrote this journal"),
        "{said}"
    );
}
