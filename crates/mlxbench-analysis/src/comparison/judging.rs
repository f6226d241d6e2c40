//! What is decided of rows that have evidence.

use super::too_few::{Counted, ENOUGH_REPETITIONS, Kinds};
use super::verdict::{Change, change};
use super::{ComparedRow, Comparing};
use crate::comparison::Compared;
use crate::evidence::{Evidence, Margins, Needed, judge, needed};
use crate::stats::Interval;

impl Comparing<'_> {
    /// How many repetitions count as one: those of a process, where the new result has several of a target.
    fn repetitions_of_unit(&self, row: &ComparedRow) -> usize {
        let processes = row.metric.by_process(self.new, &row.target, &row.test);
        match (self.paired, processes.len()) {
            (true, _) | (_, 0 | 1) => 1,
            (false, count) => processes.concat().len().div_ceil(count),
        }
    }

    /// How many repetitions both results have of a row.
    pub(super) fn counted<'r>(&self, row: &'r ComparedRow) -> Counted<'r> {
        let count = |run| row.metric.figures(run, &row.target, &row.test).len();
        Counted {
            row,
            base: count(self.base),
            new: count(self.new),
            of_unit: self.repetitions_of_unit(row),
        }
    }

    /// Judges the rows that have evidence: all that are of time together, and those of memory, which are hardly ever
    /// noisy and change by themselves. Gives the kinds of which none can be decided by so much evidence.
    pub(super) fn judge<E: Evidence>(
        &self,
        rows: &mut [ComparedRow],
        evidence: Vec<(usize, E)>,
    ) -> Kinds {
        let of_memory = |(at, _): &(usize, E)| rows[*at].metric == Compared::Memory;
        let (memory, time): (Vec<_>, Vec<_>) = evidence.into_iter().partition(of_memory);
        Kinds {
            time: !time.is_empty() && !self.judge_family(rows, time),
            memory: !memory.is_empty() && !self.judge_family(rows, memory),
        }
    }

    /// Judges rows together, each turned so that lower is worse: those of which less is better agree then with those
    /// of which more is. Whether any can be decided.
    fn judge_family<E: Evidence>(&self, rows: &mut [ComparedRow], family: Vec<(usize, E)>) -> bool {
        let turned = family.into_iter().map(|(at, evidence)| {
            let margins = self.margins(&rows[at]);
            match rows[at].metric.higher_is_better() {
                true => (at, (evidence, margins)),
                false => (at, (evidence.mirrored(), margins.mirrored())),
            }
        });
        let (places, turned): (Vec<usize>, Vec<(E, Margins)>) = turned.unzip();
        let (evidence, margins): (Vec<E>, Vec<Margins>) = turned.into_iter().unzip();
        let judged = judge(&evidence, &margins);
        let mut told = false;
        for (index, &at) in places.iter().enumerate() {
            let (evidence, margins, judged) = (&evidence[index], margins[index], judged[index]);
            let row = &mut rows[at];
            let more_is_better = row.metric.higher_is_better();
            let seen = row.ratio.map_or(f64::NAN, |ratio| ratio.median.ln());
            let seen = if more_is_better { seen } else { -seen };
            let bounds = judged.interval(evidence);
            row.bounds = match more_is_better {
                true => bounds,
                false => bounds.map(Interval::inverse),
            };
            let each = self.repetitions_of_unit(row);
            let needed = match needed(evidence, seen, margins) {
                Needed::Repetitions(units) => Needed::Repetitions(units * each),
                more => more,
            };
            row.change = change(judged.place, needed);
            told |= judged.can_be_decided(seen, margins);
        }
        if !told {
            self.ask_for_enough(rows, &places);
        }
        told
    }

    /// Where nothing can be told, what would do for a row alone isn't enough.
    fn ask_for_enough(&self, rows: &mut [ComparedRow], places: &[usize]) {
        for &at in places {
            let enough = ENOUGH_REPETITIONS * self.repetitions_of_unit(&rows[at]);
            if let Change::Inconclusive {
                repetitions: Some(repetitions),
                ..
            } = &mut rows[at].change
            {
                *repetitions = enough.max(*repetitions);
            }
        }
    }

    /// What is no change of a row.
    fn margins(&self, row: &ComparedRow) -> Margins {
        let base = row.base.map_or(f64::NAN, |base| base.median);
        let threshold = self.options.threshold_of(row.metric, base);
        Margins {
            // A threshold above all of it leaves nothing to be lost.
            low: (1.0 - threshold).max(0.0).ln(),
            high: threshold.ln_1p(),
        }
    }
}
