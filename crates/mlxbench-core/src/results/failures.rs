//! What could not be measured, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TargetId, Test};

/// A case, or a whole target, that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Which target.
    pub target: TargetId,
    /// Which test; absent when the target never got to one.
    pub test: Option<Test>,
    /// What kind.
    pub kind: FailureKind,
    /// What happened, with the worker's last words.
    pub message: String,
    /// Whether the target went on in a new process: a repetition was tried again, a probe left out.
    #[serde(default)]
    pub retried: bool,
}

/// Why something was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No worker program was found.
    Missing,
    /// The backend can't do it here.
    Unsupported,
    /// The worker reported an error.
    Failed,
    /// The worker process ended.
    Died,
    /// The worker didn't answer in time.
    TimedOut,
    /// The worker held more memory than it may.
    OutOfMemory,
    /// The worker answered with something else than the protocol.
    Protocol,
}

impl FailureKind {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
            Self::Died => "died",
            Self::TimedOut => "timed out",
            Self::OutOfMemory => "out of memory",
            Self::Protocol => "protocol error",
        }
    }
}
