//! What follows from an interval, and from all of them together.

use serde::Serialize;

use super::ComparedRow;
use crate::evidence::{Needed, Place};

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Change {
    /// It lies beyond the threshold, on the better side.
    Better,
    /// It lies beyond the threshold, on the worse side.
    Worse,
    /// It lies within the threshold.
    Same,
    /// It can't be told.
    Inconclusive {
        /// So many repetitions of both sides would probably decide; `None` when it would take more
        /// than [`MOST_PLANNED`](crate::evidence::MOST_PLANNED).
        repetitions: Option<usize>,
        /// Whether no number of repetitions would: runs of the base differ by more than it lies from the
        /// threshold.
        runs_differ: bool,
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
    /// Something got worse.
    Fail,
    /// Nothing is known to have got worse, but not all could be told.
    Inconclusive,
}

/// What follows from where a ratio lies of which more is better, and what it takes to decide it where that is open.
pub fn change(place: Place, needed: Needed) -> Change {
    match place {
        Place::Above => Change::Better,
        Place::Below => Change::Worse,
        Place::Within => Change::Same,
        Place::Open => Change::Inconclusive {
            repetitions: match needed {
                Needed::Repetitions(count) => Some(count),
                Needed::TooMany | Needed::RunsDiffer => None,
            },
            runs_differ: needed == Needed::RunsDiffer,
        },
    }
}

/// What the rows come to; `whole` where all that was to be compared is among them.
pub(super) fn gate(rows: &[ComparedRow], whole: bool) -> Gate {
    let any = |is: fn(&Change) -> bool| rows.iter().any(|row| is(&row.change));
    if any(|change| matches!(change, Change::Worse | Change::Broken { .. })) {
        return Gate::Fail;
    }
    let open = any(|change| !matches!(change, Change::Better | Change::Same));
    if open || rows.is_empty() || !whole {
        return Gate::Inconclusive;
    }
    Gate::Pass
}
