//! Memory over time, for charts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Nanos;

/// The memory of a worker process, looked at from time to time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// The time between two looks; the first was at the beginning.
    pub every_ns: Nanos,
    /// What the process held at each, in bytes.
    pub memory_bytes: Vec<u64>,
}
