//! The operations of the matrix on the CPU.

use mlxbench_conformance::trials;

use crate::on_one_thread;

/// candle's running sum is a product with a triangular matrix, which integers don't have.
const KNOWN: &[&str] = &["cumsum i64: unsupported dtype I64 for op matmul"];

#[test]
fn every_operation_is_ok_but_for_known_exceptions() {
    let found = trials::not_ok(&mut on_one_thread());
    assert_eq!(found.len(), KNOWN.len(), "{found:#?}");
    for (what, known) in found.iter().zip(KNOWN) {
        assert!(what.starts_with(known), "{what} isn't {known}");
    }
}

#[test]
fn a_mask_that_is_left_out_is_wrong() {
    assert!(trials::sees_a_mask_that_is_left_out(&mut on_one_thread()).unwrap());
}
