//! The ops of the benchmark.

use mlxbench_tch::TchBackend;

#[test]
fn every_op_runs_and_gives_finite_numbers() {
    mlxbench_conformance::ops::every_op(&mut TchBackend::default()).unwrap();
}
