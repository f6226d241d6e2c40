//! Medians, quantiles and the bootstrap interval of a median.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// Resamples behind an [`Interval`]: the Monte-Carlo error of a 95 % bound's position is then
/// about 0.16 % of probability, and five repetitions cost less than a millisecond.
pub const BOOTSTRAP_RESAMPLES: usize = 10_000;

/// Seed of the resampling, so that the same samples give the same interval always.
pub const BOOTSTRAP_SEED: u64 = 0x6d6c_7862_656e_6368;

/// Probability that an [`Interval`] is meant to cover.
pub const CONFIDENCE: f64 = 0.95;

/// The fewest samples that get an [`Interval`]: two say nothing of their spread.
pub const FEWEST_FOR_INTERVAL: usize = 3;

/// A median with its uncertainty, in the unit of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The median of the samples.
    pub median: f64,
    /// The 95 % interval of the median; `None` for fewer than [`FEWEST_FOR_INTERVAL`] samples.
    pub interval: Option<Interval>,
    /// How many samples there were.
    pub n: usize,
}

/// An interval from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Estimate {
    /// Estimates the median of finite `samples`, in any order. `None` when there are none.
    ///
    /// The interval is the percentile bootstrap's (Efron & Tibshirani, *An Introduction to the
    /// Bootstrap*, 1993, section 13.3) from [`BOOTSTRAP_RESAMPLES`] resamples.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            interval: bootstrap_interval(&sorted),
            n: sorted.len(),
        })
    }

    /// The larger distance from the median to an end of its interval: the ± of tables.
    pub fn half_width(&self) -> Option<f64> {
        let Interval { low, high } = self.interval?;
        Some((self.median - low).max(high - self.median))
    }
}

/// `samples` in ascending order.
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The quantile at `p` from 0 to 1 of an ascending sample, linear between neighbours (type 7 of
/// Hyndman & Fan 1996, which is NumPy's default). `None` when there are no samples.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = p.clamp(0.0, 1.0) * last as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    let between = below + (above - below) * position.fract();
    // Rounding must not carry it past its neighbour.
    Some(between.min(above))
}

/// The `percent`th percentile of an ascending sample, where the sample is large enough to have it:
/// at least one sample in `100 / (100 - percent)` must lie beyond it, so p50 takes 2 samples, p90
/// takes 10 and p99 takes 100. `None` below that.
pub fn percentile(sorted: &[f64], percent: u8) -> Option<f64> {
    let beyond = 100_usize.saturating_sub(usize::from(percent));
    if sorted.len() * beyond < 100 {
        return None;
    }
    quantile(sorted, f64::from(percent) / 100.0)
}

fn bootstrap_interval(sorted_samples: &[f64]) -> Option<Interval> {
    let n = sorted_samples.len();
    if n < FEWEST_FOR_INTERVAL {
        return None;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(BOOTSTRAP_SEED);
    let mut resample = vec![0; n];
    let medians: Vec<f64> = (0..BOOTSTRAP_RESAMPLES)
        .map(|_| {
            resample.fill_with(|| index_below(n, &mut random));
            median_of_indices(sorted_samples, &mut resample)
        })
        .collect();
    let medians = sorted(&medians);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Some(Interval {
        low: quantile(&medians, tail)?,
        high: quantile(&medians, 1.0 - tail)?,
    })
}

/// A uniform index below `n` (Lemire 2019, without rejection: the bias is below n / 2^64).
fn index_below(n: usize, random: &mut Xoshiro256PlusPlus) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

/// The median of the samples that `indices` name. As the samples ascend, the indices' order is
/// theirs, and a selection does in place of a sort.
fn median_of_indices(sorted_samples: &[f64], indices: &mut [usize]) -> f64 {
    let middle = indices.len() / 2;
    let odd = indices.len() % 2 == 1;
    let (below, &mut upper, _) = indices.select_nth_unstable(middle);
    let upper = sorted_samples[upper];
    match below.iter().max() {
        Some(&lower) if !odd => {
            let lower = sorted_samples[lower];
            lower + (upper - lower) * 0.5
        }
        _ => upper,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The expected values are NumPy 2's: np.quantile, and np.quantile of the medians of a million
    // np.random.default_rng resamples.
    const ODD: [f64; 7] = [12.5, 3.25, 7.0, 9.75, 1.5, 22.0, 4.5];

    fn assert_close(actual: Option<f64>, expected: f64) {
        let actual = actual.unwrap();
        assert!(
            (actual - expected).abs() < 1e-12 * expected.abs().max(1.0),
            "{actual} is not {expected}"
        );
    }

    #[test]
    fn quantiles_are_numpys() {
        let sorted = sorted(&ODD);
        for (p, expected) in [
            (0.0, 1.5),
            (0.1, 2.5500000000000003),
            (0.25, 3.875),
            (0.5, 7.0),
            (0.9, 16.300000000000004),
            (0.99, 21.429999999999996),
            (1.0, 22.0),
        ] {
            assert_close(quantile(&sorted, p), expected);
        }
        assert_close(quantile(&[1.0, 2.0, 3.0, 4.0], 0.25), 1.75);
        assert_close(quantile(&[1.0, 2.0, 3.0, 4.0], 0.9), 3.7);
    }

    #[test]
    fn a_percentile_needs_a_sample_that_reaches_it() {
        let samples: Vec<f64> = (0..100).map(f64::from).collect();
        for (percent, enough) in [(50, 2), (90, 10), (99, 100)] {
            assert_eq!(percentile(&samples[..enough - 1], percent), None);
            assert!(percentile(&samples[..enough], percent).is_some());
        }
    }

    #[test]
    fn intervals_of_small_samples_are_numpys() {
        for (samples, median, low, high) in [
            (&ODD[..], 7.0, 3.25, 12.5),
            (&[12.5, 3.25, 7.0, 9.75, 1.5, 22.0], 8.375, 2.375, 17.25),
            (&[100.0, 101.0, 102.0], 101.0, 100.0, 102.0),
            (&[24.1, 23.8, 24.6, 24.0, 25.2], 24.1, 23.8, 25.2),
        ] {
            let estimate = Estimate::of(samples).unwrap();
            assert_close(Some(estimate.median), median);
            assert_close(estimate.interval.map(|interval| interval.low), low);
            assert_close(estimate.interval.map(|interval| interval.high), high);
        }
    }

    #[test]
    fn the_interval_of_twenty_samples_is_numpys() {
        let samples = [
            100.01, 101.49, 98.63, 95.55, 97.73, 95.04, 100.3, 106.7, 97.54, 96.9, 102.45, 101.78,
            100.53, 95.35, 99.85, 103.48, 93.28, 97.71, 90.49, 93.55,
        ];
        let interval = Estimate::of(&samples).unwrap().interval.unwrap();
        assert!((interval.low - 96.225).abs() < 0.4, "{interval:?}");
        assert!((interval.high - 100.415).abs() < 0.4, "{interval:?}");
    }

    #[test]
    fn two_samples_have_a_median_and_no_interval() {
        let estimate = Estimate::of(&[3.0, 5.0]).unwrap();
        assert_eq!((estimate.median, estimate.interval), (4.0, None));
        assert_eq!(estimate.half_width(), None);
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn the_larger_half_is_the_spread() {
        let estimate = Estimate::of(&[100.0, 101.0, 105.0]).unwrap();
        assert_eq!(estimate.half_width(), Some(4.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_interval_holds_the_median_and_stays_in_the_sample(
            samples in prop::collection::vec(1e-3..1e9_f64, 3..40),
        ) {
            let Estimate { median, interval, n } = Estimate::of(&samples).unwrap();
            let Interval { low, high } = interval.unwrap();
            let sorted = sorted(&samples);
            prop_assert_eq!(n, samples.len());
            prop_assert!(sorted[0] <= low && low <= median);
            prop_assert!(median <= high && high <= sorted[n - 1]);
        }

        #[test]
        fn the_order_of_samples_changes_nothing(
            samples in prop::collection::vec(1e-3..1e9_f64, 3..20),
        ) {
            let reversed: Vec<f64> = samples.iter().rev().copied().collect();
            prop_assert_eq!(Estimate::of(&samples), Estimate::of(&reversed));
        }

        #[test]
        fn quantiles_ascend(
            samples in prop::collection::vec(-1e9..1e9_f64, 1..40),
            (p, q) in (0.0..=1.0_f64, 0.0..=1.0_f64),
        ) {
            let sorted = sorted(&samples);
            let ascends = quantile(&sorted, p.min(q)) <= quantile(&sorted, p.max(q));
            prop_assert!(ascends);
        }
    }
}
