//! Gemma's ops under candle: `cargo bench -p mlxbench-candle --bench ops`. See `mlxbench-ops`.

use std::process::ExitCode;

use mlxbench_candle::CandleBackend;

fn main() -> ExitCode {
    mlxbench_ops_bench::main(CandleBackend::default(), env!("CARGO_TARGET_TMPDIR"))
}
