//! How a figure went over time.

use serde::{Deserialize, Serialize};

use crate::Nanos;

/// Memory of a worker process over a repetition, by the operating system's account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// From one point to the next.
    pub every_ns: Nanos,
    /// What the process held at each point; the first is the start.
    pub memory_bytes: Vec<u64>,
}
