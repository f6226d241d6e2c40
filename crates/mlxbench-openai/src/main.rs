//! The worker of OpenAI-compatible servers.

use std::process::ExitCode;

use clap::Parser;
use mlxbench_core::worker::serve_requests;
use mlxbench_openai::endpoint::Arguments;
use mlxbench_openai::worker::Client;

fn main() -> ExitCode {
    let mut client = Client::new(Arguments::parse());
    serve_requests(move |request| client.answer(request))
}
