//! The verbs, one file each, and what several of them share.

pub(crate) mod baseline;
pub(crate) mod bench;
pub(crate) mod bisect;
pub(crate) mod community;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod model;
pub(crate) mod ops;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod share;

mod backends;
mod forecast;
mod gate;
mod measure;
mod versions;

use mlxbench_core::results::Harness;
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::process::kill_all;

use crate::exit::Exit;

/// How models are named.
const MODEL_HELP: &str =
    "A model folder, hf:owner/name[@revision], gguf:FILE or synthetic:PRESET[@seed]";

/// This build, as results name it.
fn harness() -> Harness {
    Harness {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("MLXBENCH_COMMIT").map(Into::into),
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
        .into(),
        compiler: option_env!("MLXBENCH_COMPILER").map(Into::into),
        compiler_flags: option_env!("MLXBENCH_COMPILER_FLAGS").map(Into::into),
    }
}

/// From here on Ctrl-C, SIGTERM and SIGHUP ask whoever heeds `interrupt` to end. Where nobody does, since
/// nothing was measured yet that could be lost, or at a second one, the process ends at once. No worker
/// outlives it either way. Called before anything is started.
fn set_on_signals(interrupt: &Interrupt) -> anyhow::Result<()> {
    let on_signal = interrupt.clone();
    // Nothing is printed here: whoever should read it may be what the user wants to end.
    Ok(ctrlc::set_handler(move || {
        if !on_signal.ask() {
            kill_all();
            std::process::exit(Exit::Interrupted as i32);
        }
    })?)
}

/// A file that grows beyond the user's limit (`ulimit -f`) is an error as a full disk is one, here and in
/// the programs that are started, instead of the end of the process without a word.
pub(crate) fn bear_file_size_limits() {
    // SAFETY: no other thread runs yet, and nobody else handles this signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
