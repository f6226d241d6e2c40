//! Training of adapters, from a config to a verdict.

use serde_json::Value;

use crate::support::{Scene, mock, stderr, stdout, worker};

const TRAINING: &str = "[measure]\nrepetitions = 3\nprocesses = 1\n\
    [[test]]\nkind = \"lora\"\nprompt_tokens = 8\nbatch = 2\nrank = 4\nlayers = 2\nsteps = 3\n";

fn target(name: &str) -> String {
    format!("[[target]]\nbackend = \"{name}\"\ndevice = \"cpu\"\ndtypes = [\"f32\"]\n")
}

/// A config with a sound mock as the reference, and another worker beside it.
fn beside_the_mock(other: &[&str]) -> String {
    let (sound, other) = (mock("sound", &[]), mock("other", other));
    format!("[equivalence]\nreference = \"sound/cpu/f32\"\npositions = 2\n{TRAINING}{sound}{other}")
}

fn verdicts(result: &Value) -> Vec<String> {
    let trainings = result["checks"].as_array().unwrap().iter();
    trainings
        .map(|known| {
            format!("{} {}", known["target"]["backend"], known["verdict"]).replace('"', "")
        })
        .collect()
}

#[test]
fn a_training_is_timed_step_by_step_once_its_work_is_seen_to_be_the_same() {
    let scene = Scene::new();
    scene.checked_config(&beside_the_mock(&["--prefill-ns-per-token", "2000000"]));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(verdicts(&result), ["sound reference", "other equivalent"]);
    let samples = result["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 6);
    for sample in samples {
        assert_eq!(sample["test"]["kind"], "lora");
        assert_eq!(sample["token_ns"].as_array().unwrap().len(), 3);
        assert_eq!(sample["losses"].as_array().unwrap().len(), 3);
        assert_eq!(sample["tokens"].as_array().unwrap().len(), 0);
    }
    // 16 tokens a step, each three passes of 1 ms: 48 ms.
    let shown = stdout(&run);
    for words in ["trained t/s", "333.3", "48.0 ms", "lora8 r4 l2 b2"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("generate t/s"), "{shown}");
    let again = scene.mlxbench(&["compare", "results/scene", "results/scene"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stdout(&again).contains("training"), "{}", stdout(&again));
    let newest = scene.written("Z.json");
    let page = scene.mlxbench(&["report", newest.to_str().unwrap(), "-o", "page.html"]);
    assert!(page.status.success(), "{}", stderr(&page));
    let page = std::fs::read_to_string(scene.path("page.html")).unwrap();
    assert!(page.contains("First steps of training compared"));
    assert!(page.contains("Training speed, lora8 r4 l2 b2"));
}

#[test]
fn trainings_with_and_without_gradient_checkpointing_are_tests_of_their_own() {
    let scene = Scene::new();
    let both = TRAINING.to_owned() + "gradient_checkpointing = [false, true]\n";
    let config = beside_the_mock(&["--prefill-ns-per-token", "2000000"]);
    scene.checked_config(&config.replace(TRAINING, &both));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let shown = stdout(&run);
    // Four passes of 1 ms and 16 tokens, not three.
    for words in [
        "lora8 r4 l2 b2",
        "48.0 ms",
        "lora8 r4 l2 +checkpoint b2",
        "64.0 ms",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let result = scene.result();
    let samples = result["samples"].as_array().unwrap().iter();
    let checkpointed = samples.filter(|sample| sample["test"]["gradient_checkpointing"] == true);
    assert_eq!(checkpointed.count(), 6);
}

#[test]
fn a_gradient_that_is_wrong_makes_a_training_different() {
    let scene = Scene::new();
    let faster = ["--prefill-ns-per-token", "500000"];
    scene.checked_config(&beside_the_mock(
        &[&["--wrong-gradients"][..], &faster].concat(),
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let headline = stdout(&run).lines().next().unwrap().to_owned();
    assert!(headline.starts_with("mock (sound) trains at"), "{headline}");
    assert_eq!(
        verdicts(&scene.result()),
        ["sound reference", "other different"]
    );
    assert!(stdout(&run).contains("different"), "{}", stdout(&run));
}

#[test]
fn losses_that_are_not_finite_are_no_work() {
    let scene = Scene::new();
    // Generations are counted: one or two of the check, then the training's.
    let config = beside_the_mock(&["--fault", "not-finite@2"]);
    scene.checked_config(&config);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let result = scene.result();
    let reason = result["checks"][1]["reason"].as_str().unwrap();
    assert!(reason.contains("aren't finite"), "{reason}");
}

#[test]
fn a_worker_that_does_not_train_says_so_and_the_others_are_measured() {
    let scene = Scene::new();
    scene.checked_config(&beside_the_mock(&["--no-training"]));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(result["samples"].as_array().unwrap().len(), 3);
    let failure = &result["failures"].as_array().unwrap().last().unwrap();
    assert_eq!(failure["kind"], "unsupported");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("told not to train"), "{message}");
}

#[test]
fn generations_and_trainings_stand_in_tables_of_their_own() {
    let scene = Scene::new();
    let both = format!(
        "{}[[test]]\nprompt_tokens = 8\ngenerate_tokens = 3\n",
        beside_the_mock(&[])
    );
    scene.checked_config(&both);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let shown = stdout(&run);
    let at = |words: &str| {
        shown
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {shown}"))
    };
    assert!(at("generate t/s") < at("trained t/s"), "{shown}");
}

#[test]
fn keys_of_another_kind_are_refused_by_name() {
    let scene = Scene::new();
    for (test, words) in [
        (
            "kind = \"lora\"\nprompt_tokens = 8\ngenerate_tokens = 4",
            "`generate_tokens` is a key of a [[test]] with kind = \"generate\"",
        ),
        (
            "prompt_tokens = 8\nrank = 4",
            "`rank` is a key of a [[test]] with kind = \"lora\"",
        ),
        (
            "prompt_tokens = 8\ngradient_checkpointing = false",
            "`gradient_checkpointing` is a key of a [[test]] with kind = \"lora\"",
        ),
        (
            "kind = \"lora\"\nprompt_tokens = 8\nsteps = 1",
            "steps = 1 leaves no step to time",
        ),
        ("kind = \"lora\"", "prompt_tokens = 0: write 2 or more"),
        (
            "kind = \"lora\"\nprompt_tokens = 8\nmodules = \"qv\"",
            "unknown variant `qv`",
        ),
        (
            "kind = \"tune\"\nprompt_tokens = 8",
            "unknown variant `tune`",
        ),
    ] {
        let targets = target("mock");
        scene.config(&format!("[[test]]\n{test}\n{targets}"));
        let run = scene.mlxbench(&["run", "config.toml"]);
        assert_eq!(run.status.code(), Some(2), "{test}: {}", stderr(&run));
        assert!(stderr(&run).contains(words), "{test}: {}", stderr(&run));
    }
}

#[test]
fn adapters_that_the_model_cannot_have_are_refused_before_it_is_loaded() {
    for (from, to, says) in [
        ("rank = 4", "rank = 3000", "rank"),
        (
            "layers = 2",
            "layers = 300",
            "`layers` is 300, and the model has",
        ),
    ] {
        let scene = Scene::new();
        scene.checked_config(&beside_the_mock(&[]).replace(from, to));
        let run = scene.mlxbench(&["run", "config.toml", "--dry-run"]);
        assert_eq!(run.status.code(), Some(2), "{}", stdout(&run));
        assert!(stderr(&run).contains(says), "{}", stderr(&run));
    }
}

/// On the tiny model every framework trains as candle in f32 does.
#[test]
fn frameworks_train_alike() {
    for name in ["candle", "tch", "mlx"] {
        worker(&format!("mlxbench-worker-{name}"));
    }
    let scene = Scene::new();
    let targets: String = ["candle", "tch", "mlx"].map(target).concat();
    let settings = "modules = \"all\"\ngradient_checkpointing = [false, true]\n";
    scene.checked_config(&format!("{TRAINING}{settings}{targets}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let of_each = ["candle reference", "tch equivalent", "mlx equivalent"];
    assert_eq!(verdicts(&scene.result()), [of_each; 2].concat());
}
