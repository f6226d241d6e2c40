//! How fast targets are on this machine: as earlier results tell, or else a guess.

use std::path::{Path, PathBuf};

use mlxbench_analysis::summarize;
use mlxbench_core::results::{Machine, RunResult, TargetId};

use crate::baselines::{Wanted, newest_result};

/// Products that a core does in a second, in f32, where nobody has measured.
const OPERATIONS_OF_CORE: f64 = 2e10;
/// Bytes that a CPU reads in a second then.
const BYTES_OF_CPU: f64 = 8e9;
/// What an accelerator does then: between a small laptop's and a large server's.
const OPERATIONS_OF_ACCELERATOR: f64 = 5e12;
const BYTES_OF_ACCELERATOR: f64 = 1.5e11;

/// Tokens of a prompt from which on its time tells of products rather than of reading the weights.
const LONG_PROMPT: usize = 16;

/// How fast a target is, all that a framework adds included.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    pub(super) operations_per_second: f64,
    pub(super) bytes_per_second: f64,
    /// The result that they come from; `None` of a guess.
    pub(super) by: Option<PathBuf>,
}

impl Rates {
    /// Factors of a time: least and most that are likely.
    pub(super) fn spread(&self) -> [f64; 2] {
        match self.by {
            Some(_) => [0.6, 1.6],
            None => [0.3, 4.0],
        }
    }
}

/// Results of this machine.
pub(super) struct Known(Vec<(PathBuf, RunResult)>);

impl Known {
    /// The newest result of each name in the folder of results, the newest of all first.
    pub(super) fn read(out: &Path, machine: &Machine) -> Self {
        let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
        let results = entries.filter_map(|entry| newest_result(&entry.path(), Wanted::Any).ok());
        let here = |result: &RunResult| {
            let then = &result.run.machine;
            (&then.cpu, then.logical_cores) == (&machine.cpu, machine.logical_cores)
        };
        let mut results: Vec<_> = results.filter(|(_, result)| here(result)).collect();
        results.sort_by_key(|(_, result)| std::cmp::Reverse(result.run.started));
        Self(results)
    }

    /// Those of `target`: of the newest result that has it.
    pub(super) fn rates(&self, target: &TargetId, machine: &Machine) -> Rates {
        let mut measured = self
            .0
            .iter()
            .filter_map(|(path, result)| of_result(path, result, target));
        measured.next().unwrap_or_else(|| guess(target, machine))
    }
}

fn of_result(path: &Path, result: &RunResult, target: &TargetId) -> Option<Rates> {
    let gemma = result.run.model.config.as_ref()?;
    let storage = gemma.storage(target.placement.precision);
    let chunk = result.run.settings.chunk;
    let rows = summarize(result).rows;
    let rows = rows.iter().filter(|row| {
        (&row.target.backend, &row.target.placement) == (&target.backend, &target.placement)
    });
    let operations = rows.clone().filter_map(|row| {
        let test = row.test;
        let ttft = row
            .ttft_ns
            .filter(|_| test.as_generate().is_some() && test.prompt_tokens() >= LONG_PROMPT)?;
        let done = gemma.prefill_operations(test.rows(), test.depth(), test.prompt_tokens(), chunk);
        Some(done as f64 / ttft.median * 1e9)
    });
    let bytes = rows.filter_map(|row| {
        let (test, tpot) = (row.test, row.tpot_ns?);
        test.as_generate()?;
        let read = gemma.decode_bytes(&storage, test.rows(), test.context(), test.steps());
        Some(read / test.steps() as f64 / tpot.median * 1e9)
    });
    Some(Rates {
        operations_per_second: largest(operations)?,
        bytes_per_second: largest(bytes)?,
        by: Some(path.to_owned()),
    })
}

/// The largest of numbers, `None` of none.
fn largest(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    numbers.max_by(f64::total_cmp)
}

fn guess(target: &TargetId, machine: &Machine) -> Rates {
    let (operations_per_second, bytes_per_second) = match target.placement.device.kind() {
        "cpu" => {
            let cores = machine
                .physical_cores
                .unwrap_or(machine.logical_cores)
                .max(1);
            (OPERATIONS_OF_CORE * cores as f64, BYTES_OF_CPU)
        }
        _ => (OPERATIONS_OF_ACCELERATOR, BYTES_OF_ACCELERATOR),
    };
    Rates {
        operations_per_second,
        bytes_per_second,
        by: None,
    }
}
