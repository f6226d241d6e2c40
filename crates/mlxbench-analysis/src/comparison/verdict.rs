//! What follows from an interval, and from all of them together.

use mlxbench_core::results::Test;
use serde::Serialize;

use super::{Compared, ComparedRow};
use crate::ranks::{Bounds, fewest_paired};

/// The probability with which the intervals of all rows of a [`Comparison`](super::Comparison) hold together.
pub const FAMILY_CONFIDENCE: f64 = 0.99;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Change {
    /// The whole interval lies beyond the threshold, on the better side.
    Better,
    /// The whole interval lies beyond the threshold, on the worse side.
    Worse,
    /// The whole interval lies within the threshold.
    Same,
    /// The interval reaches over a threshold.
    Inconclusive {
        /// So many repetitions of both sides would probably decide; `None` when it would take more
        /// than [`MOST_PLANNED`](crate::ranks::MOST_PLANNED).
        repetitions: Option<usize>,
    },
    /// Something else than what was to be compared differs.
    NotComparable {
        /// What.
        reason: String,
    },
    /// The base was measured, and this fails.
    Broken {
        /// How.
        reason: String,
    },
}

/// What a [`Comparison`](super::Comparison) comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing got worse.
    Pass,
    /// Something got worse, for sure.
    Fail,
    /// Nothing got worse for sure, but not all could be told.
    Inconclusive,
}

/// The rounds that a paired comparison of so many rows should have: half as many again as it needs
/// to tell anything, since an interval that ends at the outermost ratios is a wide one.
pub fn rounds_for(rows: usize) -> usize {
    fewest_paired(tail(rows)) * 3 / 2
}

/// How many rows so many targets of a paired comparison can have in these tests.
pub fn possible_rows(targets: usize, tests: &[Test], metrics: &[Compared]) -> usize {
    let of_test = |test: &Test| {
        let metrics = metrics.iter();
        metrics
            .filter(|&&metric| metric.is_possible_in(test))
            .count()
    };
    targets * tests.iter().map(of_test).sum::<usize>()
}

/// What an interval of one of `rows` may leave out at either end, so that all hold together.
pub fn tail(rows: usize) -> f64 {
    (1.0 - FAMILY_CONFIDENCE) / 2.0 / rows.max(1) as f64
}

/// What follows from where a ratio lies.
pub fn change(bounds: &Bounds, seen: f64, threshold: f64, higher_is_better: bool) -> Change {
    // A threshold above all of it leaves nothing to be lost.
    let (low, high) = ((1.0 - threshold).max(0.0), 1.0 + threshold);
    let undecided = || Change::Inconclusive {
        repetitions: bounds.repetitions(seen, low, high),
    };
    let Some(interval) = bounds.interval else {
        return undecided();
    };
    if low <= interval.low && interval.high <= high {
        Change::Same
    } else if interval.low > high {
        if higher_is_better {
            Change::Better
        } else {
            Change::Worse
        }
    } else if interval.high < low {
        if higher_is_better {
            Change::Worse
        } else {
            Change::Better
        }
    } else {
        undecided()
    }
}

/// What the rows come to.
pub(super) fn gate(rows: &[ComparedRow], vanished: &[String]) -> Gate {
    let any = |is: fn(&Change) -> bool| rows.iter().any(|row| is(&row.change));
    if any(|change| matches!(change, Change::Worse | Change::Broken { .. })) {
        return Gate::Fail;
    }
    let open = any(|change| !matches!(change, Change::Better | Change::Same));
    if open || rows.is_empty() || !vanished.is_empty() {
        return Gate::Inconclusive;
    }
    Gate::Pass
}
