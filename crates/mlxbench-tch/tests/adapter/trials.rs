//! The operations of the matrix on the CPU.

use mlxbench_conformance::trials;

use mlxbench_tch::TchBackend;

#[test]
fn every_operation_is_ok_but_for_known_exceptions() {
    let found = trials::not_ok(&mut TchBackend::default());
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_mask_that_is_left_out_is_wrong() {
    assert!(trials::sees_a_mask_that_is_left_out(&mut TchBackend::default()).unwrap());
}
