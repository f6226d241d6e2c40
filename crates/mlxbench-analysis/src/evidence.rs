//! What repetitions say of ratios of many rows together: which claims hold, and where ratios lie.
//!
//! A claim is one-sided: "this ratio lies below its margin". Among all rows that are judged together the probability
//! that any claim of one kind is wrong is at most [`LEVEL`]. The margins are those of what counts as a
//! change, so that equal builds are far inside them and false alarms much rarer than that.

mod counts;
mod pairs;
mod ranks;
mod resemblance;
mod runs;

pub use pairs::Pairs;
pub use ranks::Samples;
pub use resemblance::Resemblance;
pub use runs::RunSpread;

use crate::stats::Interval;

/// The probability that any of the claims of one kind is wrong: slower, faster, not slower, not faster.
pub const LEVEL: f64 = 0.05;

/// More repetitions than these nobody is asked for.
pub const MOST_PLANNED: usize = 1_000;

/// The share of new runs that would decide a row after as many repetitions as are planned, if the change is
/// what it seems to be.
pub const PLANNED_POWER: f64 = 0.9;

/// Repetitions of one row: logarithms of ratios or of figures.
pub trait Evidence: Sized {
    /// The same with base and new side exchanged.
    fn mirrored(&self) -> Self;

    /// For each row whether its log ratio is claimed to lie below its margin, and how strong its evidence has to be.
    fn below(rows: &[Self], margins: &[f64]) -> Vec<Claim>;

    /// The least margin below which the ratio is claimed to lie by evidence of this strength; `None` where so
    /// few repetitions never have that.
    fn upper(&self, strength: f64) -> Option<f64>;

    /// The strength that a row needs which is alone.
    fn alone(&self) -> f64;

    /// Repetitions of both sides after which a row would probably be decided whose log ratio lies so far
    /// within its margin.
    fn planned(&self, distance: f64) -> f64;

    /// Whether runs of the base differ by more than that, so that no number of repetitions would decide the row.
    fn runs_differ_by(&self, _distance: f64) -> bool {
        false
    }
}

/// Whether a row's ratio lies below a margin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Whether it is claimed.
    pub holds: bool,
    /// The strength that its evidence needs beside that of the other rows, for [`Evidence::upper`].
    pub strength: f64,
}

/// Ratios between which a change is none, as logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    /// The lower one; may be minus infinity.
    pub low: f64,
    /// The upper one.
    pub high: f64,
}

impl Margins {
    /// Those of the inverse.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self {
            low: -self.high,
            high: -self.low,
        }
    }
}

/// Where a ratio lies, beside its margins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Below the lower one.
    Below,
    /// Between them.
    Within,
    /// Above the upper one.
    Above,
    /// It can't be told.
    Open,
}

/// What is claimed of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Where its ratio lies.
    pub place: Place,
    claims: Claims,
}

/// The claims of one row that decide it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Claims {
    below_low: Claim,
    below_high: Claim,
    above_low: Claim,
    above_high: Claim,
}

/// Judges all rows of a comparison together.
pub fn judge<E: Evidence>(rows: &[E], margins: &[Margins]) -> Vec<Judged> {
    let mirrored: Vec<E> = rows.iter().map(E::mirrored).collect();
    let low: Vec<f64> = margins.iter().map(|margins| margins.low).collect();
    let high: Vec<f64> = margins.iter().map(|margins| margins.high).collect();
    let negative = |margins: &[f64]| -> Vec<f64> { margins.iter().map(|m| -m).collect() };
    let (below_low, below_high) = (E::below(rows, &low), E::below(rows, &high));
    let above_low = E::below(&mirrored, &negative(&low));
    let above_high = E::below(&mirrored, &negative(&high));
    let claims = (0..rows.len()).map(|at| Claims {
        below_low: below_low[at],
        below_high: below_high[at],
        above_low: above_low[at],
        above_high: above_high[at],
    });
    let judged = claims.map(|claims| Judged {
        place: claims.place(),
        claims,
    });
    judged.collect()
}

impl Claims {
    fn place(&self) -> Place {
        match self {
            Self { below_low, .. } if below_low.holds => Place::Below,
            Self { above_high, .. } if above_high.holds => Place::Above,
            Self {
                below_high,
                above_low,
                ..
            } if below_high.holds && above_low.holds => Place::Within,
            _ => Place::Open,
        }
    }
}

impl Judged {
    /// Whether any strength of evidence would decide it where it is seen to lie: fewer repetitions than that takes tell
    /// nothing of it beside the other rows.
    pub fn can_be_decided(&self, seen: f64, margins: Margins) -> bool {
        let Claims {
            below_low,
            below_high,
            above_low,
            above_high,
        } = self.claims;
        match seen {
            _ if self.place != Place::Open => true,
            _ if seen < margins.low => below_low.strength.is_finite(),
            _ if seen > margins.high => above_high.strength.is_finite(),
            _ => below_high.strength.is_finite() && above_low.strength.is_finite(),
        }
    }

    /// The interval of the ratio that says what was decided: wholly beyond or within the margins where that is
    /// claimed, else across one of them. `None` where an end would need more repetitions. An end that no claim
    /// rests on is that of a row which is alone.
    pub fn interval<E: Evidence>(&self, row: &E) -> Option<Interval> {
        let Claims {
            below_low,
            below_high,
            above_low,
            above_high,
        } = self.claims;
        let alone = row.alone();
        let (high, low) = match self.place {
            Place::Below => (below_low.strength, alone),
            Place::Above => (alone, above_high.strength),
            Place::Within => (below_high.strength, above_low.strength),
            Place::Open => (
                below_low.strength.max(below_high.strength),
                above_low.strength.max(above_high.strength),
            ),
        };
        Some(Interval {
            low: (-row.mirrored().upper(low)?).exp(),
            high: row.upper(high)?.exp(),
        })
    }
}

/// What it would take to decide a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// So many repetitions of both sides would probably do.
    Repetitions(usize),
    /// More than [`MOST_PLANNED`].
    TooMany,
    /// No number of them: runs of the base differ by more than the row lies from its threshold.
    RunsDiffer,
}

/// What it would take to decide a row with this log ratio.
pub fn needed<E: Evidence>(row: &E, seen: f64, margins: Margins) -> Needed {
    let Margins { low, high } = margins;
    let distance = match seen {
        _ if seen < low => low - seen,
        _ if seen > high => seen - high,
        _ => (seen - low).min(high - seen),
    };
    if row.runs_differ_by(distance) {
        return Needed::RunsDiffer;
    }
    let planned = row.planned(distance);
    match planned <= MOST_PLANNED as f64 {
        true => Needed::Repetitions(planned.ceil() as usize),
        false => Needed::TooMany,
    }
}
