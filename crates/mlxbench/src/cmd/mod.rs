//! The verbs, one file each.

pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod model;
pub(crate) mod report;
pub(crate) mod run;

use mlxbench_core::results::Harness;
use mlxbench_runner::process::Interrupt;

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
    }
}

/// An interrupt that Ctrl-C, SIGTERM and SIGHUP set.
fn interrupt_on_signals() -> anyhow::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let on_signal = interrupt.clone();
    ctrlc::set_handler(move || on_signal.set())?;
    Ok(interrupt)
}
