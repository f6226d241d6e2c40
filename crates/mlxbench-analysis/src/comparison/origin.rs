//! Where what is compared comes from.

use jiff::Timestamp;
use mlxbench_core::results::RunResult;
use serde::Serialize;

/// Where a side of a [`Comparison`](super::Comparison) comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Origin {
    /// The config's name.
    pub name: String,
    /// When it was measured.
    pub started: Timestamp,
    /// The commit of mlxbench.
    pub commit: Option<String>,
    /// The model.
    pub model: String,
    /// The processor.
    pub cpu: String,
    /// The worker's command, of a side of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Origin {
    pub(super) fn of(result: &RunResult) -> Self {
        let run = &result.run;
        Self {
            name: run.name.clone(),
            started: run.started,
            commit: run.mlxbench.commit.clone(),
            model: run.model.name.clone(),
            cpu: run.machine.cpu.clone(),
            command: None,
        }
    }
}
