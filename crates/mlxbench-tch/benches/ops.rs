//! Gemma's ops under PyTorch: `cargo bench -p mlxbench-tch --bench ops`. See `mlxbench-ops`.

use std::process::ExitCode;

use mlxbench_tch::TchBackend;

fn main() -> ExitCode {
    mlxbench_ops_bench::main(TchBackend::default(), env!("CARGO_TARGET_TMPDIR"))
}
