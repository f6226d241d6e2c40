//! How much repetitions resemble those before them.

use serde::Serialize;

use super::Samples;
use crate::trend::{lag_one_autocorrelation, theil_sen_slope};

/// The largest autocorrelation that is told from a trend: 19 repetitions are worth one then.
const MOST_RESEMBLING: f64 = 0.9;

/// How many repetitions say as much as one that is independent of the others: 1 where all are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Resemblance {
    /// So many at least, but for a standard error.
    pub at_least: f64,
    /// So many at most, but for a standard error.
    pub at_most: f64,
}

impl Resemblance {
    /// Repetitions that are independent of each other.
    pub const NONE: Self = Self {
        at_least: 1.0,
        at_most: 1.0,
    };

    /// Of the repetitions of many rows: (1 + phi) / (1 - phi), as of an autoregression of order one (Box,
    /// Jenkins & Reinsel, *Time Series Analysis*, 2008, section 3.2).
    ///
    /// Phi can't be told from ten repetitions, but from those of many rows together: it is the mean
    /// of the autocorrelations of all rows' series around their trends, corrected for what a short
    /// series' own trend takes away (Kendall 1954). Series of fewer than six say nothing.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Samples>) -> Self {
        let series = rows.into_iter().flat_map(Samples::runs);
        let all: Vec<f64> = series.filter_map(autocorrelation).collect();
        if all.len() < 2 {
            return Self::NONE;
        }
        let count = all.len() as f64;
        let mean = all.iter().sum::<f64>() / count;
        let squares = all.iter().map(|phi| (phi - mean).powi(2)).sum::<f64>();
        let error = (squares / (count - 1.0) / count).sqrt();
        let worth = |phi: f64| {
            let phi = phi.clamp(0.0, MOST_RESEMBLING);
            (1.0 + phi) / (1.0 - phi)
        };
        let at_least = worth(mean - error);
        Self {
            at_least,
            // A resemblance that may be none is not planned for.
            at_most: match at_least > 1.0 {
                true => worth(mean + error),
                false => 1.0,
            },
        }
    }
}

/// The autocorrelation of a series around its trend, corrected for its shortness.
fn autocorrelation(series: &[f64]) -> Option<f64> {
    let n = series.len() as f64;
    let slope = theil_sen_slope(series)?;
    let around = series.iter().enumerate();
    let around: Vec<f64> = around.map(|(at, x)| x - slope * at as f64).collect();
    let seen = lag_one_autocorrelation(&around)?;
    (series.len() >= 6).then(|| (n * seen + 2.0) / (n - 4.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_a_resemblance() {
        let row = |at: fn(i32) -> i32| {
            let series: Vec<f64> = (0..40).map(|i| f64::from(at(i)).exp()).collect();
            Samples::new(&series, &series).unwrap()
        };
        let slow = row(|at| at / 5 % 2);
        assert!((3.0..12.0).contains(&Resemblance::of([&slow]).at_least));
        let none = Resemblance::NONE;
        assert_eq!(Resemblance::of([&row(|at| at % 2)]), none);
        // A trend is none.
        assert_eq!(Resemblance::of([&row(|at| 7 * at + at % 2)]), none);
        assert_eq!(Resemblance::of([]), none);
    }
}
