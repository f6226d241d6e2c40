//! What follows from an interval, and from all of them together.

use serde::Serialize;

use super::ComparedRow;
use crate::evidence::Place;

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

/// What follows from where a ratio lies of which more is better; `repetitions` would probably decide where that is
/// open.
pub fn change(place: Place, repetitions: Option<usize>) -> Change {
    match place {
        Place::Above => Change::Better,
        Place::Below => Change::Worse,
        Place::Within => Change::Same,
        Place::Open => Change::Inconclusive { repetitions },
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
