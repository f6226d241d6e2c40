//! A result with what follows from it, computed once for all parts of a report.

use mlxbench_analysis::{Row, RowStatus, Summary, summarize};
use mlxbench_core::results::{RunResult, TargetId, Test, Verdict};

use crate::cells;

/// A result and its summary.
pub(crate) struct Digest<'a> {
    pub(crate) result: &'a RunResult,
    pub(crate) summary: Summary,
}

impl<'a> Digest<'a> {
    /// Summarises `result`.
    pub(crate) fn new(result: &'a RunResult) -> Self {
        let summary = summarize(result);
        Self { result, summary }
    }

    /// The test that charts show which have room for one, and that the answer is about: the one that
    /// most targets were measured in; of those, the one that generates the most tokens, the first of
    /// several. `None` when nothing was measured.
    pub(crate) fn main_test(&self) -> Option<Test> {
        let measured = |test: &Test| {
            let rows = self.summary.rows.iter().filter(|row| row.test == *test);
            rows.filter(|row| row.repetitions > 0).count()
        };
        let rank = |test: &Test| (measured(test), test.generate_tokens());
        let tests = self.result.run.tests.iter().copied();
        let tests = tests.filter(|test| measured(test) > 0);
        tests.reduce(|most, test| {
            if rank(&test) > rank(&most) {
                test
            } else {
                most
            }
        })
    }

    /// A target's name in charts, with what makes its figures worthless.
    pub(crate) fn label(&self, target: &TargetId) -> String {
        let verdict = self
            .result
            .equivalence_of(target)
            .map(|known| known.verdict);
        let mut rows = self.summary.rows.iter();
        let not_finite = |row: &Row| row.target == *target && row.status == RowStatus::NotFinite;
        if rows.any(not_finite) {
            format!("{target} (not finite)")
        } else if verdict == Some(Verdict::Different) {
            format!("{target} (different work)")
        } else {
            target.to_string()
        }
    }

    /// Which of its framework's targets it is, counted from 0.
    pub(crate) fn shape(&self, target: &TargetId) -> usize {
        let targets = self.result.run.targets.iter();
        let mut own = targets.filter(|other| other.backend == target.backend);
        own.position(|other| other == target).unwrap_or(0)
    }

    /// The framework's own name: `PyTorch`; the backend's where no worker said it.
    pub(crate) fn framework(&self, target: &TargetId) -> String {
        let facts = self.result.targets.iter().find(|facts| facts.id == *target);
        facts.map_or_else(
            || target.backend.clone(),
            |facts| facts.identity.framework.clone(),
        )
    }

    /// Why a row has no figure where others have one.
    pub(crate) fn why_not(&self, row: &Row) -> String {
        match &row.status {
            RowStatus::Ok => "no such figure".into(),
            _ => cells::faults(self.result, row),
        }
    }

    /// What a target failed at first, in a word.
    pub(crate) fn failure(&self, target: &TargetId) -> &'static str {
        let rows = self.summary.rows.iter().filter(|row| row.target == *target);
        let failed = rows.filter_map(|row| match &row.status {
            RowStatus::Failed { kind, .. } => Some(kind.name()),
            RowStatus::Missing => Some("not measured"),
            RowStatus::Ok | RowStatus::NotFinite => None,
        });
        failed.into_iter().next().unwrap_or("no such figure")
    }
}
