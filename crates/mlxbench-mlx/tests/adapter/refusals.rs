//! What can't be done is refused.

use mlxbench_conformance::refusals;
use mlxbench_core::Precision;
use mlxbench_mlx::MlxBackend;

#[test]
fn quantised_weights_are_refused_and_never_replaced_by_others() {
    let refused = refusals::every_refusal(&mut MlxBackend::default()).unwrap();
    for precision in Precision::ALL {
        assert!(
            refused.contains(&precision) || !precision.is_quantised(),
            "{precision}"
        );
    }
}
