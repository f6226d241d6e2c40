//! How fast the machine can be: what probes measured on its devices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TargetId;
use crate::Nanos;
use crate::probe::ProductShape;

/// A product with a weight matrix, alone, in a target's framework on its device in the dtype that it
/// computes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductProbe {
    /// Whose framework, device and compute dtype.
    pub target: TargetId,
    /// Which of the model's products it is like: `qkv`, `o`, `gate_up`, `down`, `lm_head`.
    pub part: String,
    /// Its shape.
    pub shape: ProductShape,
    /// The fastest of all.
    pub time_ns: Nanos,
}

/// Reading and writing main memory on the CPU, without any framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamProbe {
    /// What was done.
    pub kernel: StreamKernel,
    /// On how many threads.
    pub threads: usize,
    /// Bytes that were read and written, by STREAM's count.
    pub moved_bytes: u64,
    /// The fastest of all passes.
    pub time_ns: Nanos,
}

/// What a [`StreamProbe`] does to large arrays of f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamKernel {
    /// `a[i] = b[i] + s * c[i]`: 24 bytes an element (McCalpin's STREAM).
    Triad,
    /// `sum += a[i]`: 8 bytes an element, all of them read, as decode reads weights.
    Read,
}

impl StreamKernel {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Triad => "triad",
            Self::Read => "read",
        }
    }
}
