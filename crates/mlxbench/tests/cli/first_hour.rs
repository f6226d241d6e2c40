//! What a newcomer meets first: doctor, init, and answers to common mistakes.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Scene, stderr, stdout, worker};

#[test]
fn init_writes_a_config_that_can_be_run_and_replaces_nothing() {
    let scene = Scene::new();
    worker("mlxbench-worker-candle");
    let made = scene.mlxbench(&["init", "my config.toml"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stderr(&made).contains("--dry-run"), "{}", stderr(&made));
    let text = fs::read_to_string(scene.path("my config.toml")).unwrap();
    assert!(
        text.contains("name = \"my-config\"") && text.contains("backend = \"candle\""),
        "{text}"
    );
    let dry = scene.mlxbench(&["run", "my config.toml", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    assert!(!stdout(&dry).contains("fails: "), "{}", stdout(&dry));

    fs::write(scene.path("my config.toml"), "mine").unwrap();
    let again = scene.mlxbench(&["init", "my config.toml"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        stderr(&again).contains("--force replaces it"),
        "{}",
        stderr(&again)
    );
    assert_eq!(
        fs::read_to_string(scene.path("my config.toml")).unwrap(),
        "mine"
    );
    let forced = scene.mlxbench(&["init", "my config.toml", "--force"]);
    assert!(forced.status.success(), "{}", stderr(&forced));
    assert_eq!(
        fs::read_to_string(scene.path("my config.toml")).unwrap(),
        text
    );
}

#[test]
fn doctor_says_what_fits_and_what_is_missing() {
    let scene = Scene::new();
    let told = stdout(&scene.mlxbench(&["doctor"]));
    for part in [
        "memory available ",
        "disk free for models ",
        "governor ",
        "power source ",
        "bf16     gemma-",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let report: Value =
        serde_json::from_slice(&scene.mlxbench(&["doctor", "--json"]).stdout).unwrap();
    let missing = report["missing"].as_array().unwrap().len();
    let checked = scene.mlxbench(&["doctor", "--check"]);
    assert_eq!(
        checked.status.code(),
        Some(i32::from(missing > 0)),
        "{report:#}"
    );

    // Alone in a folder, without its workers.
    let alone = scene.path("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_mlxbench"), alone.join("mlxbench")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(alone.join("mlxbench"));
        command
            .args(arguments)
            .current_dir(&alone)
            .env("PATH", &alone)
            .output()
            .unwrap()
    };
    let checked = run(&["doctor", "--check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", stderr(&checked));
    for name in ["candle", "tch", "mlx"] {
        let line = format!("missing: {name} can't be used");
        assert!(stdout(&checked).contains(&line), "{}", stdout(&checked));
    }
    assert_eq!(run(&["doctor"]).status.code(), Some(0));
    let init = run(&["init"]);
    assert_eq!(init.status.code(), Some(2));
    assert!(
        stderr(&init).contains("`mlxbench doctor` says why"),
        "{}",
        stderr(&init)
    );
}

#[test]
fn a_device_by_another_frameworks_name_is_answered() {
    let scene = Scene::new();
    worker("mlxbench-worker-candle");
    let letters = [
        "bench",
        "-m",
        "model",
        "-p",
        "8",
        "-n",
        "0",
        "--dry-run",
        "--backend",
        "candle",
        "--device",
        "mps",
    ];
    let told = stdout(&scene.mlxbench(&letters));
    assert!(told.contains("candle has no device `mps` here"), "{told}");
    assert!(told.contains("Apple's GPU is `metal` to candle"), "{told}");
    let generate = [
        "generate",
        "--model",
        "model",
        "--backend",
        "candle",
        "--device",
        "mps",
        "--tokens",
        "1",
    ];
    let told = stderr(&scene.mlxbench(&generate));
    assert!(told.contains("Apple's GPU is `metal` to candle"), "{told}");
}

#[test]
fn a_backend_and_a_preset_that_are_misspelt_are_answered_with_what_was_meant() {
    let scene = Scene::new();
    worker("mlxbench-worker-candle");
    let bench = |model: &str, backend: &str| {
        let letters = [
            "bench",
            "-m",
            model,
            "-p8",
            "-n0",
            "--backend",
            backend,
            "--dry-run",
        ];
        let told = scene.mlxbench(&letters);
        stdout(&told) + &stderr(&told)
    };
    let told = bench("model", "cnadle");
    assert!(told.contains("did you mean `candle`?"), "{told}");
    let told = bench("synthetic:gemma-3-27m", "candle");
    assert!(told.contains("did you mean `gemma-3-270m`?"), "{told}");
}

#[test]
fn a_machine_without_a_compiler_is_told_what_to_install() {
    let scene = Scene::new();
    let programs = scene.path("programs");
    fs::create_dir(&programs).unwrap();
    let link = |name: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output()
            .unwrap();
        std::os::unix::fs::symlink(stdout(&found).trim(), programs.join(name)).unwrap();
    };
    for name in ["bash", "dirname", "git", "cargo"] {
        link(name);
    }
    let setup = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/setup");
    let told = Command::new("bash")
        .arg(setup)
        .env("PATH", &programs)
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(2), "{}", stderr(&told));
    assert!(
        stderr(&told).contains("install a C compiler"),
        "{}",
        stderr(&told)
    );
    assert_eq!(stderr(&told).lines().count(), 1, "{}", stderr(&told));
}
