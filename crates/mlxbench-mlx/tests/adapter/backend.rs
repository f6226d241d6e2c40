//! What the adapter says about itself and this machine.

use std::env;
use std::process::Command;

use mlxbench_conformance::Golden;
use mlxbench_core::{Backend, Device, Dtype, Model, Placement, Precision};
use mlxbench_mlx::MlxBackend;

#[test]
fn the_loaded_library_names_version_and_blas() {
    let identity = MlxBackend::default().identity().unwrap();
    assert!(identity.version.starts_with("0.32"), "{}", identity.version);
    for library in ["BLAS", "mlx-c", "mlx-rs"] {
        assert!(identity.libraries.contains_key(library), "{library}");
    }
    assert_ne!(identity.libraries["BLAS"], "none");
}

#[test]
fn the_cpu_comes_last_and_takes_every_precision() {
    let devices = MlxBackend::default().devices();
    let cpu = devices.last().unwrap();
    assert_eq!(cpu.device.kind(), "cpu");
    let usable = cpu
        .precisions
        .iter()
        .filter(|known| known.unsupported.is_none());
    assert_eq!(
        usable.map(|known| known.precision).collect::<Vec<_>>(),
        Precision::ALL
    );
}

/// MLX's `jit_compiler.h` says when it can compile for the CPU, and its `compile.h` what forbids it.
#[test]
fn a_model_says_whether_mlx_fuses_chains_on_the_cpu_and_why_not() {
    let placement = Placement {
        device: Device::cpu(),
        precision: Dtype::F32.into(),
    };
    let golden = Golden::named("gemma3").unwrap();
    let model = golden.load(&mut MlxBackend::default(), &placement).unwrap();
    let output = Command::new("g++").arg("--version").output();
    let compiler = output.is_ok_and(|output| output.status.success());
    let way = match (env::var_os("MLX_DISABLE_COMPILE"), compiler) {
        (Some(_), _) => "one by one: MLX_DISABLE_COMPILE",
        (None, true) => "fused",
        (None, false) => "one by one: no g++ in PATH",
    };
    assert_eq!(model.kernels()["chains of element-wise operations"], way);
}

#[test]
fn threads_in_effect_are_at_least_one() {
    assert!(MlxBackend::default().set_threads(None).unwrap() >= 1);
}
