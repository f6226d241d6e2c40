//! Figures of repetitions that several worker processes ran. What a process has by luck (where its memory came
//! to lie, which threads share a core) is in all of its repetitions, so processes are what is independent,
//! and their medians are what an interval rests on.

use serde::Serialize;

use crate::stats::{Estimate, FEWEST_FOR_INTERVAL, Interval, median, student_reach};
use crate::variance::{Components, logs, mean};

impl Estimate {
    /// Estimates a figure from its finite samples by process, none of which is empty: the median of the
    /// processes' medians. `None` when there are no samples. The samples of a single process are those of
    /// [`Estimate::of`]: the interval says nothing of another process then.
    ///
    /// Of five processes or more, the interval is that of [`Estimate::of`] over their medians. Two to four
    /// have too few medians to resample (a bootstrap of three covers 75 % at most): theirs is Student's interval of
    /// the mean of the medians' logarithms, which holds for any share of luck and of noise where both are
    /// lognormal. `examples/coverage.rs` simulates how often it covers the true figure, beside other methods.
    /// It is `None` where a median isn't positive.
    pub fn of_processes(processes: &[Vec<f64>]) -> Option<Self> {
        let units = Units::of(processes)?;
        let interval = match units.values.len() {
            few if few < FEWEST_FOR_INTERVAL => {
                let logs = Logs::of(&units);
                logs.and_then(|logs| student(units.median, logs.mean, logs.variance, logs.freedom))
            }
            _ => Self::of(&units.values)?.interval,
        };
        Some(Self {
            median: units.median,
            interval,
            n: processes.iter().map(Vec::len).sum(),
        })
    }

    /// How many times as large the figure of `numerator` is as that of `denominator`, both positive and measured
    /// in processes of their own. `None` when there are no samples of either.
    ///
    /// The interval is that of [`Estimate::of_ratio`] over the medians of processes (of the repetitions of a
    /// single one) where both sides have five, and Welch's on their logarithms (1947; degrees of freedom by
    /// Satterthwaite 1946) where one has fewer.
    pub fn of_ratio_of_processes(numerator: &[Vec<f64>], denominator: &[Vec<f64>]) -> Option<Self> {
        let (above, below) = (Units::of(numerator)?, Units::of(denominator)?);
        let median = above.median / below.median;
        let n = |processes: &[Vec<f64>]| processes.iter().map(Vec::len).sum::<usize>();
        let interval = match above.values.len().min(below.values.len()) {
            few if few < FEWEST_FOR_INTERVAL => {
                let logs = Logs::of(&above).zip(Logs::of(&below));
                logs.and_then(|logs| welch(median, logs))
            }
            _ => Self::of_ratio(&above.values, &below.values)?.interval,
        };
        Some(Self {
            median,
            interval,
            n: n(numerator).min(n(denominator)),
        })
    }
}

/// How far the repetitions of a figure lie apart, as shares of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProcessSpread {
    /// Standard deviation between processes, less what repetitions explain: 0.05 is 5 %.
    pub between: f64,
    /// Standard deviation of the repetitions of one process.
    pub within: f64,
}

impl ProcessSpread {
    /// Of the logarithms. `None` with a single process or without a second repetition in any, and where a sample
    /// isn't positive.
    pub fn of(processes: &[Vec<f64>]) -> Option<Self> {
        let groups: Option<Vec<Vec<f64>>> = processes.iter().map(|process| logs(process)).collect();
        let groups = groups?;
        let told = groups.iter().any(|group| group.len() > 1);
        let Components { between, within } = Components::of(&groups).filter(|_| told)?;
        Some(Self {
            between: between.max(0.0).sqrt(),
            within: within.sqrt(),
        })
    }
}

/// What is independent of each other, in the order of time: the medians of processes, or the samples of a single
/// one. No process is empty.
pub fn independent(processes: &[Vec<f64>]) -> Vec<f64> {
    match processes {
        [only] => only.clone(),
        several => several
            .iter()
            .filter_map(|process| median(process))
            .collect(),
    }
}

/// [`independent`] samples and their median.
struct Units {
    values: Vec<f64>,
    median: f64,
    of_processes: bool,
}

impl Units {
    fn of(processes: &[Vec<f64>]) -> Option<Self> {
        let values = independent(processes);
        Some(Self {
            median: median(&values)?,
            values,
            of_processes: processes.len() > 1,
        })
    }
}

/// Logarithms of units as shares of their median: their mean, its variance, and the degrees of freedom of that.
struct Logs {
    mean: f64,
    variance: f64,
    freedom: f64,
}

impl Logs {
    /// `None` for too few repetitions of a single process: unlike medians of several, they can't be taken for
    /// lognormal.
    fn of(units: &Units) -> Option<Self> {
        let n = units.values.len();
        let few = n < FEWEST_FOR_INTERVAL && !units.of_processes;
        if n < 2 || few || units.values.iter().any(|&value| value <= 0.0) {
            return None;
        }
        let shares = units.values.iter().map(|value| value / units.median);
        let logs = logs(&shares.collect::<Vec<f64>>())?;
        let mean = mean(&logs);
        let freedom = n as f64 - 1.0;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        Some(Self {
            mean,
            variance: squares / freedom / n as f64,
            freedom,
        })
    }
}

/// Student's interval around a mean of logarithms of shares of `median`.
fn student(median: f64, mean: f64, variance: f64, freedom: f64) -> Option<Interval> {
    let reach = student_reach(freedom)? * variance.sqrt();
    Some(Interval {
        low: median * (mean - reach).exp(),
        high: median * (mean + reach).exp(),
    })
}

/// The interval of a ratio of two figures, which is `median`.
fn welch(median: f64, (above, below): (Logs, Logs)) -> Option<Interval> {
    let variance = above.variance + below.variance;
    let part = |logs: &Logs| logs.variance.powi(2) / logs.freedom;
    let freedom = variance.powi(2) / (part(&above) + part(&below));
    // Samples that are all alike leave no uncertainty, whatever its degrees of freedom.
    let fewest = above.freedom.min(below.freedom);
    let freedom = if freedom.is_nan() { fewest } else { freedom };
    student(median, above.mean - below.mean, variance, freedom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(actual: f64, expected: f64) {
        assert!(
            (actual - expected).abs() < 1e-9 * expected,
            "{actual} is not {expected}"
        );
    }

    fn assert_interval(estimate: Option<Estimate>, (low, high): (f64, f64)) {
        let interval = estimate.and_then(|estimate| estimate.interval).unwrap();
        assert_close(interval.low, low);
        assert_close(interval.high, high);
    }

    #[test]
    fn the_repetitions_of_one_process_are_all_there_is() {
        let samples = [24.1, 23.8, 24.6, 24.0, 25.2];
        let estimate = Estimate::of_processes(&[samples.to_vec()]);
        assert_eq!(estimate, Estimate::of(&samples));
        let few = Estimate::of_processes(&[samples[..4].to_vec()]).unwrap();
        assert_eq!(few.interval, None);
    }

    #[test]
    fn a_process_for_each_repetition_is_as_good_as_independent_repetitions() {
        let samples = [24.1, 23.8, 24.6, 24.0, 25.2];
        let alone = samples.map(|sample| vec![sample]);
        assert_eq!(Estimate::of_processes(&alone), Estimate::of(&samples));
    }

    #[test]
    fn repetitions_of_a_process_that_is_slow_do_not_outvote_the_others() {
        let fast = [vec![10.0], vec![10.2]];
        let slow = vec![vec![12.0; 9]];
        let estimate = Estimate::of_processes(&[&fast[..], &slow].concat()).unwrap();
        assert_eq!((estimate.median, estimate.n), (10.2, 11));
    }

    #[test]
    fn two_to_four_processes_have_students_interval_of_their_logarithms() {
        // For scipy, x = np.log([median of each]): np.exp(stats.t.interval(0.95, len(x) - 1, np.mean(x),
        // stats.sem(x))).
        let three = [vec![100.0, 102.0], vec![95.0, 95.0, 97.0], vec![104.0]];
        let estimate = Estimate::of_processes(&three);
        assert_eq!(estimate.map(|estimate| estimate.median), Some(101.0));
        assert_interval(estimate, (89.09684442750506, 112.07873558645446));
    }

    #[test]
    fn processes_that_are_all_alike_leave_no_doubt() {
        let alike = vec![vec![0.1 + 0.2]; 3];
        let estimate = Estimate::of_processes(&alike).unwrap();
        let Interval { low, high } = estimate.interval.unwrap();
        assert_eq!((low, high), (estimate.median, estimate.median));
        let ratio = Estimate::of_ratio_of_processes(&alike, &alike).unwrap();
        let Interval { low, high } = ratio.interval.unwrap();
        assert_eq!((low, high), (1.0, 1.0));
    }

    #[test]
    fn ratios_of_few_processes_have_welchs_interval() {
        let above = [vec![100.0], vec![95.0], vec![104.0]];
        let below = [vec![50.0], vec![51.0], vec![49.0], vec![50.5]];
        let ratio = Estimate::of_ratio_of_processes(&above, &below);
        assert_eq!(ratio.map(|ratio| ratio.n), Some(3));
        assert_close(ratio.unwrap().median, 100.0 / 50.25);
        assert_interval(ratio, (1.797022225044944, 2.1975429001280973));
    }

    #[test]
    fn what_is_not_positive_has_no_logarithm() {
        let estimate = Estimate::of_processes(&[vec![1.0], vec![-1.0]]).unwrap();
        assert_eq!((estimate.median, estimate.interval), (0.0, None));
        assert_eq!(ProcessSpread::of(&[vec![1.0, 0.0], vec![1.0, 1.0]]), None);
    }

    #[test]
    fn spread_is_told_apart_into_that_of_processes_and_of_repetitions() {
        let process = |level: f64| {
            [-0.01, 0.0, 0.01]
                .map(|own: f64| (level + own).exp())
                .to_vec()
        };
        let apart = ProcessSpread::of(&[process(0.1), process(0.0), process(-0.1)]).unwrap();
        assert_close(apart.within, 0.01);
        assert_close(
            apart.between,
            (0.1_f64.powi(2) - 0.01_f64.powi(2) / 3.0).sqrt(),
        );
        let alike = ProcessSpread::of(&[process(0.0), process(0.0)]).unwrap();
        assert_eq!(alike.between, 0.0);
        assert_eq!(ProcessSpread::of(&[process(0.0)]), None);
        assert_eq!(ProcessSpread::of(&[vec![1.0], vec![2.0]]), None);
    }
}
