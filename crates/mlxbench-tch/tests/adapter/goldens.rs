//! Goldens of Hugging Face transformers.

use mlxbench_conformance::Golden;
use mlxbench_core::{Device, Dtype, Placement};
use mlxbench_tch::TchBackend;

#[test]
fn f32_equals_the_reference() {
    let placement = Placement {
        device: Device::cpu(),
        precision: Dtype::F32.into(),
    };
    for golden in Golden::all().unwrap() {
        let comparison = golden.compare(&mut TchBackend::default(), &placement);
        comparison.unwrap().assert_within(1e-4);
    }
}
