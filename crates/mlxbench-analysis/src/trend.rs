//! Did a figure drift while a run went on? Tests of repetitions in the order of their time.

use std::borrow::Cow;

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::stats::{median, sorted};

/// The fewest samples that get a [`Trend`]: even when four all ascend, chance does so as often as
/// 2 times in 24, and no trend of fewer could reach the usual 5 %.
pub const FEWEST_FOR_TREND: usize = 5;

/// Up to so many samples without ties a p-value is exact; it takes n³ steps, and the normal
/// approximation is as good beyond.
const EXACT_UP_TO: usize = 50;

/// Of more samples than this, blocks of consecutive ones are tested by their medians: every pair is
/// looked at, and a drift is no shorter than a block.
const MOST_PAIRED: usize = 400;

/// The drift of a figure over the repetitions of one case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trend {
    /// Kendall's tau-b between figure and time: 1 always ascends, -1 always descends, 0 neither.
    pub tau: f64,
    /// How likely repetitions without a drift are to ascend or descend at least as steadily, from
    /// 0 to 1. It takes them as independent: see [`lag_one_autocorrelation`].
    pub p_value: f64,
    /// The fitted change from the first repetition to the last as a share of the median: -0.02 is
    /// 2 % less.
    pub change: f64,
}

impl Trend {
    /// Tests finite `samples`, in the order of their time, for a drift: the Mann-Kendall test
    /// (Mann, *Econometrica* 13, 1945) with the slope of Theil and Sen (Sen, *Journal of the
    /// American Statistical Association* 63, 1968), neither of which a few outliers can move.
    ///
    /// The p-value is two-sided: exact for up to 50 samples without ties, from the normal
    /// approximation otherwise. Of more than 400 samples, medians of blocks are tested. `None` for fewer than [`FEWEST_FOR_TREND`] samples and where the
    /// median is 0, of which nothing is a share.
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.len() < FEWEST_FOR_TREND {
            return None;
        }
        let samples = &condensed(samples);
        let kendall = Kendall::of(samples);
        Some(Self {
            tau: kendall.tau(),
            p_value: kendall.p_value(),
            change: relative_change(samples)?,
        })
    }
}

/// The drift that all cases of a run share: whether the machine itself grew slower or faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CommonTrend {
    /// How likely cases without a drift are to ascend or descend together at least as steadily,
    /// from 0 to 1.
    pub p_value: f64,
    /// The median of the cases' [changes](Trend::change).
    pub change: f64,
    /// How many cases there were.
    pub cases: usize,
}

impl CommonTrend {
    /// Tests the `cases` of a run, each the finite samples of one figure in the order of their
    /// time, for a common drift: the seasonal Kendall test, with a case for a season (Hirsch, Slack
    /// & Smith, *Water Resources Research* 18, 1982). Cases are compared with themselves alone, so
    /// their units and speeds may differ; a figure that falls as the machine slows must not be
    /// mixed with one that rises. Two-sided, by the normal approximation.
    ///
    /// It takes the cases as independent: a moment that slows all of them at once makes the p-value
    /// too small. Cases of fewer than [`FEWEST_FOR_TREND`] samples count too, those of one sample or
    /// with a median of 0 don't; `None` when none is left.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a [f64]>) -> Option<Self> {
        let mut changes = Vec::new();
        let mut s = 0.0;
        let mut variance = 0.0;
        for samples in cases {
            let samples = &condensed(samples);
            if let Some(change) = relative_change(samples) {
                let kendall = Kendall::of(samples);
                s += kendall.s;
                variance += kendall.variance();
                changes.push(change);
            }
        }
        Some(Self {
            p_value: normal_p_value(s, variance),
            change: median(&changes)?,
            cases: changes.len(),
        })
    }
}

/// The slope of Theil and Sen: the median of the slopes between all pairs of samples, in their unit
/// a sample (Sen 1968). `None` for fewer than two samples.
pub fn theil_sen_slope(samples: &[f64]) -> Option<f64> {
    let slopes: Vec<f64> = pairs(samples)
        .map(|(distance, difference)| difference / distance as f64)
        .collect();
    median(&slopes)
}

/// How much each of the finite `samples`, in the order of their time, resembles the one before it:
/// near 0 for independent ones, up to 1 (Box, Jenkins & Reinsel, *Time Series Analysis*, 2008,
/// section 2.1.5). `None` for fewer than three samples or when all are equal.
pub fn lag_one_autocorrelation(samples: &[f64]) -> Option<f64> {
    // Asked of the samples: their variance may be a rounding error above 0.
    let equal = samples.windows(2).all(|pair| pair[0] == pair[1]);
    if samples.len() < 3 || equal {
        return None;
    }
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    let product = |pair: &[f64]| (pair[0] - mean) * (pair[1] - mean);
    let covariance: f64 = samples.windows(2).map(product).sum();
    let variance: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    Some(covariance / variance)
}

/// `samples`, or the medians of at most [`MOST_PAIRED`] blocks of them.
fn condensed(samples: &[f64]) -> Cow<'_, [f64]> {
    let block = samples.len().div_ceil(MOST_PAIRED);
    if block < 2 {
        return samples.into();
    }
    let medians = samples.chunks(block);
    medians.filter_map(median).collect::<Vec<f64>>().into()
}

/// [`Trend::change`].
fn relative_change(samples: &[f64]) -> Option<f64> {
    let steps = samples.len().checked_sub(1)? as f64;
    let median = median(samples)?;
    let change = theil_sen_slope(samples)? * steps / median.abs();
    change.is_finite().then_some(change)
}

/// Every pair of samples: how many steps they are apart, and the later less the earlier.
fn pairs(samples: &[f64]) -> impl Iterator<Item = (usize, f64)> {
    samples.iter().enumerate().flat_map(move |(index, first)| {
        let later = samples[index + 1..].iter().enumerate();
        later.map(move |(between, second)| (between + 1, second - first))
    })
}

/// What Kendall's test knows of samples in time (Kendall, *Rank Correlation Methods*, 1975,
/// chapters 4 and 5).
struct Kendall {
    /// Pairs that ascend less pairs that descend.
    s: f64,
    /// How many samples there are.
    n: usize,
    /// How many samples each tie has; those without one are left out.
    ties: Vec<f64>,
}

impl Kendall {
    fn of(samples: &[f64]) -> Self {
        let ascends = |(_, difference): (usize, f64)| match difference {
            difference if difference > 0.0 => 1.0,
            difference if difference < 0.0 => -1.0,
            _ => 0.0,
        };
        let sorted = sorted(samples);
        let ties = sorted.chunk_by(|a, b| a == b).map(|tie| tie.len() as f64);
        Self {
            s: pairs(samples).map(ascends).sum(),
            n: samples.len(),
            ties: ties.filter(|&tie| tie > 1.0).collect(),
        }
    }

    /// Tau-b; 0 when all samples are equal.
    fn tau(&self) -> f64 {
        let pairs_of = |count: f64| count * (count - 1.0) / 2.0;
        let all = pairs_of(self.n as f64);
        let untied = all - self.ties.iter().copied().map(pairs_of).sum::<f64>();
        if untied > 0.0 {
            self.s / (all * untied).sqrt()
        } else {
            0.0
        }
    }

    /// The variance of S without a drift, corrected for ties.
    fn variance(&self) -> f64 {
        let term = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0);
        (term(self.n as f64) - self.ties.iter().copied().map(term).sum::<f64>()) / 18.0
    }

    fn p_value(&self) -> f64 {
        if self.ties.is_empty() && self.n <= EXACT_UP_TO {
            self.exact_p_value()
        } else {
            normal_p_value(self.s, self.variance())
        }
    }

    /// The share of the orders of n different samples in which as many pairs, or more, ascend (or
    /// descend) as do here.
    fn exact_p_value(&self) -> f64 {
        let distribution = inversions(self.n);
        let rarer = ((distribution.len() - 1) as f64 - self.s.abs()) / 2.0;
        let tail: f64 = distribution.iter().take(rarer as usize + 1).sum();
        (2.0 * tail).min(1.0)
    }
}

/// The probability of each number of descending pairs in a random order of `n` different samples.
/// The last sample of `m` makes 0 to m - 1 of them, all equally likely, which gives the recurrence
/// from `m - 1` (Kendall 1975, chapter 5).
fn inversions(n: usize) -> Vec<f64> {
    let mut distribution = vec![1.0];
    for m in 2..=n {
        let mut next = vec![0.0; distribution.len() + m - 1];
        for (before, probability) in distribution.iter().enumerate() {
            for added in 0..m {
                next[before + added] += probability / m as f64;
            }
        }
        distribution = next;
    }
    distribution
}

/// The two-sided p-value of a sum of signs by the normal approximation. The sum moves in steps of
/// two, so one is taken off for continuity (Kendall 1975, chapter 4).
fn normal_p_value(s: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (s.abs() - 1.0).max(0.0) / variance.sqrt();
    2.0 * Normal::standard().cdf(-z)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(actual: f64, expected: f64) {
        assert!(
            (actual - expected).abs() < 1e-12,
            "{actual} is not {expected}"
        );
    }

    #[test]
    fn samples_that_always_ascend_are_as_rare_as_two_orders_of_all() {
        let trend = Trend::of(&[100.0, 101.0, 102.0, 103.0, 104.0]).unwrap();
        assert_eq!(trend.tau, 1.0);
        assert_close(trend.p_value, 2.0 / 120.0);
        assert_close(trend.change, 4.0 / 102.0);
    }

    #[test]
    fn a_machine_that_slows_down_has_a_negative_change() {
        let rates: Vec<f64> = (0..20).map(|i| 100.0 - 0.1 * f64::from(i)).collect();
        let trend = Trend::of(&rates).unwrap();
        assert_eq!(trend.tau, -1.0);
        assert!(trend.p_value < 1e-6 && trend.change < -0.018);
    }

    #[test]
    fn no_drift_is_no_news() {
        let trend = Trend::of(&[10.0, 12.0, 11.0, 12.5, 9.5, 10.5]).unwrap();
        assert!(trend.p_value > 0.5, "{trend:?}");
    }

    #[test]
    fn as_many_ascending_pairs_as_descending_are_nothing_rare() {
        let trend = Trend::of(&[2.0, 5.0, 1.0, 4.0, 3.0]).unwrap();
        assert_eq!((trend.tau, trend.p_value), (0.0, 1.0));
    }

    #[test]
    fn negative_samples_that_ascend_change_upwards() {
        let trend = Trend::of(&[-5.0, -4.0, -3.0, -2.0, -1.0]).unwrap();
        assert_close(trend.change, 4.0 / 3.0);
    }

    #[test]
    fn equal_samples_have_no_drift() {
        let trend = Trend::of(&[7.0; 6]).unwrap();
        assert_eq!((trend.tau, trend.p_value, trend.change), (0.0, 1.0, 0.0));
    }

    #[test]
    fn four_samples_are_too_few_for_a_trend() {
        assert_eq!(Trend::of(&[1.0, 2.0, 3.0, 4.0]), None);
    }

    #[test]
    fn a_median_of_nothing_has_no_share() {
        assert_eq!(Trend::of(&[-2.0, -1.0, 0.0, 1.0, 2.0]), None);
        assert_eq!(Trend::of(&[0.0; 5]), None);
    }

    #[test]
    fn an_outlier_does_not_move_the_slope() {
        assert_eq!(theil_sen_slope(&[1.0, 2.0, 3.0, 400.0, 5.0]), Some(1.0));
    }

    #[test]
    fn cases_too_short_for_themselves_show_a_drift_together() {
        let case = [100.0, 99.0, 98.5];
        let cases = vec![&case[..]; 6];
        let common = CommonTrend::of(cases).unwrap();
        assert!(common.p_value < 0.001, "{common:?}");
        assert_close(common.change, -1.5 / 99.0);
        assert_eq!(common.cases, 6);
    }

    #[test]
    fn cases_that_disagree_have_no_common_drift() {
        let (up, down) = ([1.0, 2.0, 3.0, 4.0, 5.0], [50.0, 40.0, 30.0, 20.0, 10.0]);
        let common = CommonTrend::of([&up[..], &down[..]]).unwrap();
        assert_eq!(common.p_value, 1.0);
    }

    #[test]
    fn a_case_of_one_sample_has_no_part_in_it() {
        assert_eq!(CommonTrend::of([&[1.0][..]]), None);
        let common = CommonTrend::of([&[1.0][..], &[1.0, 2.0]]).unwrap();
        assert_eq!(common.cases, 1);
    }

    #[test]
    fn alternating_samples_resemble_their_neighbours_least() {
        let alternating = lag_one_autocorrelation(&[1.0, -1.0, 1.0, -1.0]).unwrap();
        assert_close(alternating, -0.75);
        assert_eq!(lag_one_autocorrelation(&[1.0, 2.0]), None);
        assert_eq!(lag_one_autocorrelation(&[0.1; 6]), None);
    }

    #[test]
    fn ten_thousand_samples_drift_like_a_few() {
        let samples: Vec<f64> = (0..10_000)
            .map(|at| 100.0 + f64::from(at) / 1000.0)
            .collect();
        let trend = Trend::of(&samples).unwrap();
        assert!((trend.change - 10.0 / 105.0).abs() < 1e-3, "{trend:?}");
        assert!(trend.p_value < 1e-9);
    }
}
