//! llama.cpp's library as a worker. It takes the blocks of a GGUF file as they are, so it runs what was named
//! as `gguf:FILE`, and its logits are judged as all others' are.
//!
//! What its users get, keys and values in f16, is `native-f16`; `native-f32` keeps them in f32. What goes from
//! one operation to the next is f32 in both.

mod backend;
mod devices;
mod log;
mod model;
mod storage;

use std::process::ExitCode;

fn main() -> ExitCode {
    match backend::LlamaCpp::new() {
        Ok(backend) => mlxbench_core::worker::serve(backend),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
