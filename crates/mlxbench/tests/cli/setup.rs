//! `scripts/setup --cuda` where it can't work: one line says why, before anything is fetched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Scene, stderr, stdout};

/// An interpreter that needs nothing of PATH.
fn python() -> PathBuf {
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    stdout(&asked).trim().into()
}

/// What set-up says on a machine whose nvidia-smi runs `smi`, in sh; that has none where it is empty.
fn refusal(smi: &str, variables: &[(&str, &str)]) -> String {
    let scene = Scene::new();
    let programs = scene.path("programs");
    fs::create_dir(&programs).unwrap();
    if !smi.is_empty() {
        let program = programs.join("nvidia-smi");
        fs::write(&program, format!("#!/bin/sh\n{smi}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let into = scene.path("native");
    let installer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/native/install.py");
    let set_up = Command::new(python())
        .arg("-B")
        .arg(installer)
        .args(["--cuda", "--platform", "linux-x86_64", "--into"])
        .arg(&into)
        .env("PATH", &programs)
        .env_remove("CUDA_COMPUTE_CAP")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert_eq!(set_up.status.code(), Some(2), "{}", stderr(&set_up));
    assert!(!into.join("cuda").exists(), "CUDA was chosen all the same");
    stderr(&set_up)
}

#[test]
fn a_machine_without_a_driver_is_told_what_to_install() {
    let said = refusal("", &[]);
    assert!(said.contains("no NVIDIA driver is here"), "{said}");
    assert!(said.contains("CUDA_COMPUTE_CAP=90"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_machine_without_a_gpu_hears_what_nvidia_smi_says() {
    let said = refusal("echo 'No devices were found'; exit 6", &[]);
    assert!(
        said.contains("shows no GPU (No devices were found)"),
        "{said}"
    );
}

#[test]
fn an_old_driver_and_an_old_gpu_are_named() {
    let said = refusal("echo '535.183.01, 9.0, NVIDIA H100 80GB HBM3'", &[]);
    let old = "driver 535.183.01 is too old for CUDA 13: update it to 580";
    assert!(said.contains(old), "{said}");
    let said = refusal("echo '580.95.05, 7.0, Tesla V100-SXM2-16GB'", &[]);
    assert!(
        said.contains("Tesla V100-SXM2-16GB is too old for CUDA 13"),
        "{said}"
    );
}

#[test]
fn a_compute_capability_is_written_as_nvcc_does() {
    let said = refusal("", &[("CUDA_COMPUTE_CAP", "9.0")]);
    assert!(said.contains("90 for 9.0"), "{said}");
}
