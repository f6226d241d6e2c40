//! Goldens of Hugging Face transformers.

use mlxbench_conformance::{Golden, per_layer};
use mlxbench_core::{Device, Dtype, Placement};
use mlxbench_tch::TchBackend;

fn f32_on_the_cpu() -> Placement {
    Placement {
        device: Device::cpu(),
        precision: Dtype::F32.into(),
    }
}

#[test]
fn f32_equals_the_reference() {
    let placement = f32_on_the_cpu();
    for golden in Golden::all().unwrap() {
        let comparison = golden.compare(&mut TchBackend::default(), &placement);
        comparison.unwrap().assert_within(1e-4);
    }
}

#[test]
fn checkpoints_of_mlx_lm_are_read_as_it_reads_them() {
    let placement = f32_on_the_cpu();
    for golden in Golden::by_mlx_lm().unwrap() {
        let comparison = golden.compare(&mut TchBackend::default(), &placement);
        comparison.unwrap().assert_within(1e-3);
    }
}

#[test]
fn a_rewound_model_goes_on_as_one_that_was_never_there() {
    let placement = f32_on_the_cpu();
    for golden in Golden::all().unwrap() {
        let difference = golden.compare_rewound(&mut TchBackend::default(), &placement);
        let difference = difference.unwrap();
        assert!(
            difference < 1e-4,
            "{}: differs by {difference}",
            golden.name
        );
    }
}

#[test]
fn a_table_on_the_cpu_gives_the_same_logits() {
    let compared = per_layer::same_wherever_the_table_is(&mut TchBackend::default());
    assert!(compared.unwrap() > 0);
}
