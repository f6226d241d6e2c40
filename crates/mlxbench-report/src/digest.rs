//! A result with what follows from it, computed once for all parts of a report.

use mlxbench_analysis::{Row, RowStatus, Summary, Unfit, summarize};
use mlxbench_core::results::{Metric, RunResult, TargetId, Test};

use crate::cells;
use crate::names::{Name, Names};

/// What is said where nothing went wrong and there is no figure all the same.
pub(crate) const NO_FIGURE: &str = "no such figure";

/// A result and its summary.
pub(crate) struct Digest<'a> {
    pub(crate) result: &'a RunResult,
    pub(crate) summary: Summary,
    names: Names,
}

impl<'a> Digest<'a> {
    /// Summarises `result`.
    pub(crate) fn new(result: &'a RunResult) -> Self {
        let framework = |target: &TargetId| {
            let facts = result.targets.iter().find(|facts| facts.id == *target)?;
            Some(facts.identity.framework.clone())
        };
        Self {
            result,
            summary: summarize(result),
            names: Names::new(&result.run.targets, framework),
        }
    }

    /// What a target is called: `PyTorch bf16`.
    pub(crate) fn name(&self, target: &TargetId) -> Name {
        self.names.of(target)
    }

    /// The test that charts show which have room for one, and that the answer is about: the one that
    /// most targets were measured in; of those, the one that generates the most tokens, the first of
    /// several. `None` when nothing was measured.
    pub(crate) fn main_test(&self) -> Option<Test> {
        self.main_of(|_| true)
    }

    /// [`main_test`](Self::main_test) of those that yield a figure.
    pub(crate) fn main_test_of(&self, metric: Metric) -> Option<Test> {
        self.main_of(|test| test.yields(metric))
    }

    fn main_of(&self, takes_part: impl Fn(&Test) -> bool) -> Option<Test> {
        let measured = |test: &Test| {
            let rows = self.summary.rows.iter().filter(|row| row.test == *test);
            rows.filter(|row| row.repetitions > 0).count()
        };
        let rank = |test: &Test| (measured(test), test.generate_tokens());
        let tests = self.result.run.tests.iter().copied();
        let tests = tests.filter(|test| takes_part(test) && measured(test) > 0);
        tests.reduce(|most, test| {
            if rank(&test) > rank(&most) {
                test
            } else {
                most
            }
        })
    }

    /// What makes a row's figures worthless.
    pub(crate) fn worthless(&self, row: &Row) -> Option<Unfit> {
        Unfit::of_work(self.result, &self.summary, row)
    }

    /// Why a row's rate can't lead.
    pub(crate) fn unfit(&self, row: &Row) -> Option<Unfit> {
        Unfit::of(self.result, &self.summary, row)
    }

    /// A target's name in charts, with what makes its figures worthless.
    pub(crate) fn label(&self, target: &TargetId) -> String {
        let name = self.name(target);
        match Unfit::of_target(self.result, &self.summary, target) {
            Some(why) => format!("{name}, {}", why.name()),
            None => name.to_string(),
        }
    }

    /// Which of its framework's targets it is, counted from 0.
    pub(crate) fn shape(&self, target: &TargetId) -> usize {
        let targets = self.result.run.targets.iter();
        let mut own = targets.filter(|other| other.backend == target.backend);
        own.position(|other| other == target).unwrap_or(0)
    }

    /// Why a row has no figure where others have one.
    pub(crate) fn why_not(&self, row: &Row) -> String {
        match &row.status {
            RowStatus::Ok => NO_FIGURE.into(),
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
        failed.into_iter().next().unwrap_or(NO_FIGURE)
    }
}
