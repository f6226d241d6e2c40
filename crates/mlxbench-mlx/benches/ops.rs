//! Gemma's ops under MLX: `cargo bench -p mlxbench-mlx --bench ops`. See `mlxbench-ops`.

use std::process::ExitCode;

use mlxbench_mlx::MlxBackend;

fn main() -> ExitCode {
    mlxbench_mlx::prepare();
    mlxbench_ops_bench::main(MlxBackend::default(), env!("CARGO_TARGET_TMPDIR"))
}
