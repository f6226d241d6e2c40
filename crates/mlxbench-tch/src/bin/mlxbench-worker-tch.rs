//! The PyTorch worker. It speaks the worker protocol on stdin and stdout.

use std::process::ExitCode;

fn main() -> ExitCode {
    mlxbench_core::worker::serve(mlxbench_tch::TchBackend::default())
}
