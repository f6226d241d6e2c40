//! The verbs, one file each, and what several of them share.

pub(crate) mod baseline;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod history;
pub(crate) mod model;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schema;

mod gate;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use mlxbench_core::results::Harness;
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::process::kill_all;

use crate::exit::Exit;

/// How models are named.
const MODEL_HELP: &str = "A model folder, hf:owner/name[@revision] or synthetic:PRESET[@seed]";

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

/// Sees that no output is one of the inputs, or lies among the results of a folder that is one, and that
/// each is a file of its own.
fn keep_apart<'a>(
    inputs: impl IntoIterator<Item = &'a Path>,
    outputs: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<()> {
    let inputs: Vec<PathBuf> = inputs.into_iter().flat_map(fs::canonicalize).collect();
    let mut others: Vec<PathBuf> = Vec::new();
    for output in outputs {
        // What isn't there yet is no result.
        if let Ok(file) = fs::canonicalize(output) {
            let is_result = file.extension().is_some_and(|ending| ending == "json");
            let holds = |input: &Path| is_result && file.parent() == Some(input);
            let among = |input: &PathBuf| *input == file || holds(input);
            if file.is_file() && inputs.iter().any(among) {
                bail!("{} is a result: write to another file", output.display());
            }
        }
        let full = std::path::absolute(output)?;
        if others.contains(&full) {
            bail!("{} is named twice to be written", output.display());
        }
        others.push(full);
    }
    Ok(())
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
