//! Two sides, block after block of rounds, until every row is decided or the time is over. What a look at the
//! rows says stays valid however often one looks: see [`mlxbench_analysis::evidence::Pairs`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mlxbench_analysis::comparison::Options;
use mlxbench_analysis::evidence::Pairs;
use mlxbench_analysis::{Change, ComparedRow, compare_sides};
use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{ROUNDS_OF_BLOCK, Record, Sequence, StopReason, Stopped};

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
        let mut rounds = 0;
        let reason = loop {
            (self.observe)(Event::Planned(cases.len() * ROUNDS_OF_BLOCK));
            for round in rounds..rounds + ROUNDS_OF_BLOCK {
                self.rounds(cases, round..round + 1)?;
            }
            rounds += ROUNDS_OF_BLOCK;
            if self.is_decided(rounds, options) {
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

    /// Looks at all rows, and tells how near they are to being decided.
    fn is_decided(&mut self, rounds: usize, options: &Options) -> bool {
        if rounds < Pairs::fewest_rounds(ROUNDS_OF_BLOCK) {
            return false;
        }
        let Some(comparison) = compare_sides(&self.result, options) else {
            return true;
        };
        let rows = &comparison.rows;
        let open = |row: &&ComparedRow| matches!(row.change, Change::Inconclusive { .. });
        let widest = rows
            .iter()
            .filter(open)
            .max_by(|a, b| width(a).total_cmp(&width(b)));
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
