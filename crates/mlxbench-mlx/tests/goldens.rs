//! Goldens of Hugging Face transformers, and how rows of a batch, chunks and dtypes agree.

use mlxbench_core::conformance::Golden;
use mlxbench_core::{Device, Dtype, Placement};
use mlxbench_mlx::MlxBackend;

fn compare(dtype: Dtype, tolerance: f32) {
    let placement = Placement {
        device: Device::cpu(),
        dtype,
    };
    for golden in Golden::all().unwrap() {
        let comparison = golden
            .compare(&mut MlxBackend::default(), &placement)
            .unwrap();
        println!("{dtype} {}: {}", golden.name, comparison.largest_difference);
        comparison.assert_within(tolerance);
    }
}

#[test]
fn f32_equals_the_reference() {
    compare(Dtype::F32, 1e-4);
}
