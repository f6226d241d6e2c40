//! Tests of the adapter against what every adapter has to hold to.

mod gguf;
mod goldens;
mod ops;
mod quantised;
mod refusals;
mod timing;
mod train;
mod trials;

use std::sync::Once;

use mlxbench_candle::CandleBackend;

/// candle, with quantised products on the calling thread only: beside other tests, tiny products would wait
/// for threads of candle's pool far longer than they take.
fn on_one_thread() -> CandleBackend {
    static BEFORE_THE_POOL: Once = Once::new();
    // SAFETY: whatever else reads the environment in these tests does so by Rust's own lock.
    BEFORE_THE_POOL.call_once(|| unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") });
    CandleBackend::default()
}
