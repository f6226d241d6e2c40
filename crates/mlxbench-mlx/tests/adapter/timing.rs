//! The times of the adapter's tokens.

use mlxbench_mlx::MlxBackend;

#[test]
fn tokens_take_their_own_time() {
    mlxbench_conformance::timing::tokens_take_their_own_time(&mut MlxBackend::default()).unwrap();
}
