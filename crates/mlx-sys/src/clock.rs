//! `mach_approximate_time`, with which mlx-rs seeds random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

#[unsafe(no_mangle)]
extern "C" fn mach_approximate_time() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    elapsed.as_nanos() as u64
}
