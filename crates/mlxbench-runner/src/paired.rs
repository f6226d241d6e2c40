//! Two sides, block after block of rounds, until every row is decided or the time is over. What a look at the
//! rows says stays valid however often one looks: see [`mlxbench_analysis::evidence::Pairs`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mlxbench_analysis::comparison::Options;
use mlxbench_analysis::evidence::Pairs;
use mlxbench_analysis::{Change, ComparedRow, compare_sides};
use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{
    ROUNDS_OF_BLOCK, Record, Sequence, StopReason, Stopped, TargetId, Test,
};

use crate::event::{Event, Progress};
use crate::rounds::{Case, Runner, Stop};
use crate::schedule::{order, there_and_back};

impl Runner<'_> {
    /// Measures both sides of `cases` until `options` have nothing left to decide.
    pub(crate) fn until_decided(
        &mut self,
        cases: &[Case],
        options: &Options,
        most: Duration,
    ) -> Result<(), Stop> {
        let begun = Instant::now();
        // A block that was cut short counts for nothing: what its other half met is gone.
        let measured = self
            .result
            .samples
            .iter()
            .map(|sample| sample.repetition + 1);
        let mut rounds = measured
            .max()
            .unwrap_or(0)
            .next_multiple_of(ROUNDS_OF_BLOCK);
        let reason = loop {
            let pairs = self.whole_pairs(cases);
            (self.observe)(Event::Planned(pairs.len() * ROUNDS_OF_BLOCK));
            for round in rounds..rounds + ROUNDS_OF_BLOCK {
                self.rounds(&pairs, round..round + 1)?;
            }
            rounds += ROUNDS_OF_BLOCK;
            if self.is_decided(rounds, &self.whole_pairs(cases), options) {
                break StopReason::Decided;
            }
            if begun.elapsed() >= most {
                break StopReason::MaxMinutes;
            }
            if rounds + ROUNDS_OF_BLOCK > REPETITIONS {
                break StopReason::MaxRepetitions;
            }
        };
        let tests: BTreeSet<usize> = cases.iter().map(|case| case.test).collect();
        for test in tests {
            self.record(Record::Stopped(Stopped {
                test: self.plan.tests[test].0,
                repetitions: rounds,
                reason,
            }))?;
        }
        Ok(())
    }

    /// Those of `cases` of which neither side is set aside: one alone says nothing.
    fn whole_pairs(&self, cases: &[Case]) -> Vec<Case> {
        let lost = cases.iter().filter(|case| self.is_set_aside(**case));
        let lost: BTreeSet<_> = lost.map(|case| self.pair(*case)).collect();
        let whole = cases.iter().copied();
        whole
            .filter(|case| !lost.contains(&self.pair(*case)))
            .collect()
    }

    /// What a case is called whichever its side.
    fn pair(&self, case: Case) -> (Test, TargetId) {
        let target = TargetId {
            side: None,
            ..self.plan.targets[case.target].id.clone()
        };
        (self.plan.tests[case.test].0, target)
    }

    /// Looks at the rows of `cases`, and tells how near they are to being decided.
    fn is_decided(&mut self, rounds: usize, cases: &[Case], options: &Options) -> bool {
        let pairs: BTreeSet<_> = cases.iter().map(|case| self.pair(*case)).collect();
        if pairs.is_empty() {
            return true;
        }
        if rounds < Pairs::fewest_rounds(ROUNDS_OF_BLOCK) {
            return false;
        }
        let Some(comparison) = compare_sides(&self.result, options) else {
            return true;
        };
        let rows = comparison.rows.iter();
        let rows = rows.filter(|row| pairs.contains(&(row.test, row.target.clone())));
        let rows: Vec<&ComparedRow> = rows.collect();
        let open = |row: &&&ComparedRow| matches!(row.change, Change::Inconclusive { .. });
        let widest = rows
            .iter()
            .filter(open)
            .max_by(|a, b| width(a).total_cmp(&width(b)))
            .copied();
        (self.observe)(Event::Looked(&Progress {
            rounds,
            decided: rows.iter().filter(|row| !open(row)).count(),
            rows: rows.len(),
            widest,
        }));
        widest.is_none()
    }

    /// The order of `targets` in a round: there and back where two sides are measured until they are decided.
    pub(crate) fn order(&self, targets: &[usize], round: usize) -> Vec<usize> {
        let sides = self.result.run.sides.as_ref();
        match sides.and_then(|sides| sides.sequence.as_ref()) {
            Some(Sequence { order_seed, .. }) => there_and_back(targets, *order_seed, round),
            None => order(targets, self.plan.settings.seed, round),
        }
    }
}

/// How wide a row's interval is, as a ratio of its ends.
fn width(row: &ComparedRow) -> f64 {
    row.bounds
        .map_or(f64::INFINITY, |bounds| bounds.high / bounds.low)
}
