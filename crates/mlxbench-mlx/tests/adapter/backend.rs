//! What the adapter says about itself and this machine.

use mlxbench_core::{Backend, Precision};
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

#[test]
fn threads_in_effect_are_at_least_one() {
    assert!(MlxBackend::default().set_threads(None).unwrap() >= 1);
}
