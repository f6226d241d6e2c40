//! What the backends of this build say they can do here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mlxbench_core::protocol::Hello;
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::locate::{worker_command, workers_beside};
use mlxbench_runner::process::Worker;
use serde::Serialize;

/// The backends that mlxbench comes with.
pub(crate) const BACKENDS: [&str; 3] = ["candle", "tch", "mlx"];

const TIMEOUT: Duration = Duration::from_secs(120);

/// What a backend's worker said, or why there is none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    Usable(Hello),
    Missing(String),
}

impl Backend {
    /// What its worker said.
    pub(crate) fn usable(&self) -> Option<&Hello> {
        match self {
            Self::Usable(hello) => Some(hello),
            Self::Missing(_) => None,
        }
    }
}

/// The backends that mlxbench comes with, and every other whose worker lies beside this program.
pub(crate) fn all() -> BTreeSet<String> {
    let known = BACKENDS.map(str::to_owned).into_iter();
    known.chain(workers_beside()).collect()
}

/// Asks the backends called `names`.
pub(crate) fn ask(
    names: impl IntoIterator<Item = String>,
    interrupt: &Interrupt,
) -> BTreeMap<String, Backend> {
    let ask = |backend: &str| -> Result<Hello, String> {
        let command = worker_command(backend, None)?;
        let mut worker = Worker::start(&command, TIMEOUT, interrupt.clone())
            .map_err(|error| error.to_string())?;
        worker.hello().map_err(|error| error.to_string())
    };
    let backends = names.into_iter().map(|name| {
        let found = ask(&name).map_or_else(Backend::Missing, Backend::Usable);
        (name, found)
    });
    backends.collect()
}
