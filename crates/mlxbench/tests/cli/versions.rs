//! `run --versions`, in a checkout whose script gives the mock for every version that it has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::Value;

use crate::support::{Scene, TEST, stderr, stdout, worker};

/// What `mlxbench run config.toml --versions ARGUMENTS` of a checkout does whose `scripts/native/version` is `script`,
/// in sh. `WORKER` stands for the mock's program; the script runs in the scene's folder.
fn run(scene: &Scene, script: &str, versions: &[&str]) -> Output {
    // A link, since a program that was just written may be busy; links don't leave their disk.
    let checkout = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (built, scripts) = (
        checkout.path().join("target/release"),
        checkout.path().join("scripts/native"),
    );
    fs::create_dir_all(&built).unwrap();
    fs::create_dir_all(&scripts).unwrap();
    let program = built.join("mlxbench");
    fs::hard_link(env!("CARGO_BIN_EXE_mlxbench"), &program).unwrap();
    let mock = worker("mlxbench-worker-mock");
    let script = script.replace("WORKER", mock.to_str().unwrap());
    let version = scripts.join("version");
    fs::write(&version, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&version, fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = [&["run", "config.toml", "--versions"], versions].concat();
    scene.command_of(&program, &arguments).output().unwrap()
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.config(&format!(
        "[measure]\nrepetitions = 1\nprocesses = 1\n{TEST}\
         [[target]]\nbackend = \"tch\"\ndevice = \"cpu\"\ndtypes = [\"f32\"]\n"
    ));
    scene
}

#[test]
fn each_version_is_measured_by_the_worker_that_the_checkout_compiles() {
    let scene = scene();
    let script = "echo \"$*\" >> asked; echo compiled; echo WORKER";
    let run = run(&scene, script, &["torch=2.12.1,2.13.0"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let asked = fs::read_to_string(scene.path("asked")).unwrap();
    assert_eq!(asked, "torch 2.12.1\ntorch 2.13.0\n");
    let result = scene.only("results/scene-versions");
    let targets = result["run"]["targets"].as_array().unwrap().iter();
    let targets: Vec<&Value> = targets.map(|target| &target["backend"]).collect();
    assert_eq!(targets, ["torch-2.12.1", "torch-2.13.0"]);
    let shown = stdout(&run);
    for version in ["mock (torch-2.12.1)", "mock (torch-2.13.0)"] {
        assert!(shown.contains(version), "{shown}");
    }
}

#[test]
fn a_version_that_does_not_compile_is_named_before_anything_is_measured() {
    let scene = scene();
    let script = "[ $2 = 1.0 ] && { echo 'version: no such operator' >&2; exit 2; }; echo WORKER";
    let run = run(&scene, script, &["torch=2.13.0,1.0"]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    let said = stderr(&run);
    assert!(said.contains("version: no such operator"), "{said}");
    assert!(
        said.contains("--versions torch: 1.0: the script ended with"),
        "{said}"
    );
    assert!(!scene.path("results").exists(), "something was measured");
}

#[test]
fn a_run_of_versions_is_added_to_by_the_same_versions_alone() {
    let scene = scene();
    let of_versions = |arguments: &[&str]| {
        let versions = ["torch=2.12.1,2.13.0"];
        run(&scene, "echo WORKER", &[&versions, arguments].concat())
    };
    assert_eq!(of_versions(&[]).status.code(), Some(0));
    let plain = scene.mlxbench(&["run", "config.toml", "--resume", "--repetitions", "2"]);
    assert_eq!(plain.status.code(), Some(2));
    let said = stderr(&plain);
    assert!(said.contains("nothing to resume"), "{said}");
    let more = of_versions(&["--resume", "--repetitions", "2"]);
    assert_eq!(more.status.code(), Some(0), "{}", stderr(&more));
    let result = scene.only("results/scene-versions");
    assert_eq!(result["samples"].as_array().unwrap().len(), 4);
}
