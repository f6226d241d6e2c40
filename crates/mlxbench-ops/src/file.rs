//! What a run of the benchmark says about criterion's files.

use mlxbench_core::backend::Identity;
use mlxbench_core::{Device, Precision};
use serde::{Deserialize, Serialize};

use crate::Phase;

/// The version of [`OpsFile`].
pub const SCHEMA: u32 = 2;

/// The ops that a run has measured; the crate's own page has an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpsFile {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The backend, its framework and libraries.
    pub identity: Identity,
    /// Where the model was.
    pub device: Device,
    /// What weights were kept in, and what was computed in.
    pub precision: Precision,
    /// The preset whose shapes were taken.
    pub model: String,
    /// CPU threads of the framework.
    pub threads: usize,
    /// Tokens of a prefill.
    pub prefill_tokens: usize,
    /// Tokens in the cache before a decode step.
    pub decode_depth: usize,
    /// What was measured, prefill first, in the order of a pass.
    pub ops: Vec<MeasuredOp>,
}

/// One op of an [`OpsFile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredOp {
    /// The kind of pass.
    pub phase: Phase,
    /// Its name, unique within the phase.
    pub name: String,
    /// The part of a pass, the same in both phases.
    pub part: String,
    /// Whether it is made of other ops of the list.
    pub composite: bool,
    /// How often one pass runs it.
    pub occurrences: usize,
    /// Multiplications and additions of matrix products in one run.
    pub operations: u64,
    /// Bytes of weights and cache that one run reads and writes at least.
    pub bytes: u64,
    /// criterion's folder of it, below criterion's own, `/` between its parts.
    pub criterion: String,
}

impl OpsFile {
    /// The file's name: `candle-cpu-f32-gemma-3-270m.json`.
    pub fn file_name(&self) -> String {
        let backend = &self.identity.backend;
        let name = format!(
            "{backend}-{}-{}-{}.json",
            self.device, self.precision, self.model
        );
        safe(&name)
    }

    /// criterion's group of all its ops: `candle/cpu/f32 gemma-3-270m`.
    pub fn group(&self) -> String {
        let backend = &self.identity.backend;
        format!(
            "{backend}/{}/{} {}",
            self.device, self.precision, self.model
        )
    }
}

/// A part of a benchmark's name as criterion writes it in file names, which may be 64 bytes long.
pub fn safe(name: &str) -> String {
    name.replace(['?', '"', '/', '\\', '*', '<', '>', ':', '|', '^'], "_")
}
