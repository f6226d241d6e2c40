//! How much runs of the same build differ from each other, beyond what their repetitions tell.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{LEVEL, Samples};
use crate::variance::Components;

/// The spread between runs: a day's machine, and what the processes of a run have by luck.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RunSpread {
    /// Runs of the base that it is known from; of one it isn't.
    pub runs: usize,
    /// The standard deviation of the logarithm of a run's level.
    pub deviation: f64,
}

impl RunSpread {
    /// That of a single run.
    pub const UNKNOWN: Self = Self {
        runs: 1,
        deviation: 0.0,
    };

    /// Of the bases of many rows: the mean of each row's variance between runs, less the part that their
    /// repetitions make up.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Samples>) -> Self {
        let (mut runs, mut variances) = (usize::MAX, Vec::new());
        for row in rows {
            let of_row: Vec<&[f64]> = row.base_runs().collect();
            // A row that is new in the newest run says nothing of how runs differ.
            if let Some(components) = Components::of(&of_row) {
                runs = runs.min(of_row.len());
                variances.push(components.between);
            }
        }
        if variances.is_empty() {
            return Self::UNKNOWN;
        }
        let variance = variances.iter().sum::<f64>() / variances.len() as f64;
        Self {
            runs,
            deviation: variance.max(0.0).sqrt(),
        }
    }

    /// How far above the mean of these runs' levels that of one more may lie, but for a probability of
    /// [`LEVEL`] (a prediction interval: Student's t for as many runs as there are).
    pub fn reach(&self) -> f64 {
        let runs = self.runs as f64;
        if self.runs < 2 || self.deviation == 0.0 {
            return 0.0;
        }
        let t = StudentsT::new(0.0, 1.0, runs - 1.0).expect("one degree of freedom at least");
        t.inverse_cdf(1.0 - LEVEL) * self.deviation * (1.0 + 1.0 / runs).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_differ_by_is_told_from_what_repetitions_do() {
        let noise = [-0.01, 0.01, 0.0, -0.01, 0.01_f64];
        let base = |levels: [f64; 4]| {
            let runs = levels.map(|level| noise.map(|x| (level + x).exp()).to_vec());
            Samples::of_runs(&runs, &[1.0; 5]).unwrap()
        };
        let alike = RunSpread::of([&base([0.0; 4])]);
        assert_eq!((alike.runs, alike.deviation, alike.reach()), (4, 0.0, 0.0));
        let apart = RunSpread::of([&base([-0.06, 0.06, -0.06, 0.06])]);
        assert!((0.06..0.075).contains(&apart.deviation), "{apart:?}");
        // Student's t of three degrees of freedom, 2.353.
        assert!((apart.reach() / apart.deviation - 2.353 * 1.25_f64.sqrt()).abs() < 0.01);
        let one = Samples::new(&[1.0, 1.1], &[1.0, 1.1]).unwrap();
        assert_eq!(RunSpread::of([&one]), RunSpread::UNKNOWN);
    }
}
