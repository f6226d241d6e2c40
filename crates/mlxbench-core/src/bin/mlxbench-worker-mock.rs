//! A worker with scripted timings and faults, for tests of the runner and of configs.

use std::process::ExitCode;

use clap::Parser;
use mlxbench_core::clock::VirtualClock;
use mlxbench_core::mock::{MockBackend, Script};
use mlxbench_core::worker;

/// A worker whose times and faults are scripted. It speaks the worker protocol on stdin and stdout.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    script: Script,
}

fn main() -> ExitCode {
    let script = Args::parse().script;
    let clock = match script.real_time {
        true => VirtualClock::in_real_time(),
        false => VirtualClock::default(),
    };
    let backend = MockBackend::new(script, clock.clone());
    worker::serve_with_clock(backend, clock)
}
