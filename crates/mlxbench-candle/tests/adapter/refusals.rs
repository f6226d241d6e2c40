//! What can't be done is refused.

use mlxbench_candle::CandleBackend;
use mlxbench_conformance::refusals;
use mlxbench_core::Precision;

#[test]
fn quantised_weights_are_refused_and_never_replaced_by_others() {
    let refused = refusals::every_refusal(&mut CandleBackend::default()).unwrap();
    for precision in Precision::ALL {
        assert!(
            refused.contains(&precision) || !precision.is_quantised(),
            "{precision}"
        );
    }
}
