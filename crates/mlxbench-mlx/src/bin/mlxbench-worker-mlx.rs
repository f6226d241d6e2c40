//! The MLX worker. It speaks the worker protocol on stdin and stdout.

use std::process::ExitCode;

fn main() -> ExitCode {
    mlxbench_mlx::prepare();
    mlxbench_core::worker::serve(mlxbench_mlx::MlxBackend::default())
}
