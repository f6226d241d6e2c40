//! Where a series of results changed its level: between which two of them something happened.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde::Serialize;

use crate::stats::{index_below, quantile, sorted};

/// How rarely a series without a change may be told to have one.
pub const SIGNIFICANCE: f64 = 0.01;

/// The fewest values that are looked at: even five low ones before five high ones come by chance as
/// often as 2 times in 252, and fewer can't be as rare as [`SIGNIFICANCE`] asks for.
pub const FEWEST_FOR_CHANGE: usize = 10;

/// A smaller change of the median isn't worth a mark.
pub const LEAST_CHANGE: f64 = 0.02;

/// Shuffles behind a p-value: at the significance, its error is 0.1 %.
const SHUFFLES: usize = 10_000;

/// Seed of the shuffles, so that the same values give the same answer always.
const SEED: u64 = 0x6368_616e_6765_7321;

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChangePoint {
    /// The first value of the new level.
    pub index: usize,
    /// The median since the change before, or since the beginning.
    pub before: f64,
    /// The median until the next change, or until the end.
    pub after: f64,
    /// How likely values without a change are to look as much like one, from 0 to 1.
    pub p_value: f64,
}

impl ChangePoint {
    /// The change as a share of the level before: -0.1 is 10 % less.
    pub fn change(&self) -> f64 {
        self.after / self.before - 1.0
    }
}

/// The change points of finite `values`, in the order of their time.
///
/// Pettitt's test (*Applied Statistics* 28, 1979) tells whether there is one, and the least sum of
/// absolute deviations from the medians of both sides where: the test's own place is drawn towards
/// the middle. What lies before and after is looked at again in the same way (binary segmentation:
/// Scott & Knott, *Biometrics* 30, 1974). Ranks and medians mind neither the noise's form nor an
/// outlier, but the test takes values without a change as exchangeable. A change of less than
/// [`LEAST_CHANGE`] ends the search.
pub fn change_points(values: &[f64]) -> Vec<ChangePoint> {
    let mut found = Vec::new();
    search(values, 0, &mut found);
    found.sort_by_key(|&(index, _)| index);
    let starts = found.iter().map(|&(index, _)| index);
    let starts: Vec<usize> = [0]
        .into_iter()
        .chain(starts)
        .chain([values.len()])
        .collect();
    let median = |level: &[usize]| quantile(&sorted(&values[level[0]..level[1]]), 0.5);
    let levels: Vec<f64> = starts.windows(2).filter_map(median).collect();
    let changes = found.iter().zip(levels.windows(2));
    changes
        .map(|(&(index, p_value), level)| ChangePoint {
            index,
            before: level[0],
            after: level[1],
            p_value,
        })
        .collect()
}

/// Adds the change points of `values`, which begin at `offset` of the whole.
fn search(values: &[f64], offset: usize, found: &mut Vec<(usize, f64)>) {
    if values.len() < FEWEST_FOR_CHANGE {
        return;
    }
    let pettitt = Pettitt::of(values);
    let index = least_deviation(values);
    let (before, after) = values.split_at(index);
    let median = |values: &[f64]| quantile(&sorted(values), 0.5).unwrap_or(0.0);
    let change = median(after) / median(before) - 1.0;
    if pettitt.p_value > SIGNIFICANCE || change.is_nan() || change.abs() < LEAST_CHANGE {
        return;
    }
    found.push((offset + index, pettitt.p_value));
    search(before, offset, found);
    search(after, offset + index, found);
}

/// Where to split `values` so that they deviate least from the medians of both sides.
fn least_deviation(values: &[f64]) -> usize {
    let deviation = |side: &[f64]| {
        let median = quantile(&sorted(side), 0.5).unwrap_or(0.0);
        side.iter().map(|value| (value - median).abs()).sum::<f64>()
    };
    let cost = |&index: &usize| {
        let (before, after) = values.split_at(index);
        deviation(before) + deviation(after)
    };
    let splits = 1..values.len();
    splits
        .min_by(|a, b| cost(a).total_cmp(&cost(b)))
        .unwrap_or(1)
}

/// Pettitt's test for one change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pettitt {
    /// The first value after the likeliest change.
    pub index: usize,
    /// The largest |U|, over all places: how many more pairs across it ascend than descend.
    pub statistic: f64,
    /// How likely exchangeable values are to reach it, from shuffles with a fixed seed.
    pub p_value: f64,
}

impl Pettitt {
    /// Tests finite `values`, two at least, in the order of their time.
    pub fn of(values: &[f64]) -> Self {
        let mut ranks = ranks(values);
        let (index, statistic) = largest(&ranks);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let as_large = (0..SHUFFLES).filter(|_| {
            // Fisher and Yates.
            for last in (1..ranks.len()).rev() {
                ranks.swap(last, index_below(last + 1, &mut random));
            }
            largest(&ranks).1 >= statistic
        });
        let as_large = as_large.count();
        Self {
            index,
            statistic,
            // The values themselves are one of the orders (Phipson & Smyth 2010).
            p_value: (as_large + 1) as f64 / (SHUFFLES + 1) as f64,
        }
    }
}

/// The mean rank of each value, from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal + 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// Where |U| is largest, and how large: U of the first t is 2 times their ranks' sum less t (n + 1).
fn largest(ranks: &[f64]) -> (usize, f64) {
    let mean_twice = ranks.len() as f64 + 1.0;
    let mut u = 0.0;
    let mut best = (1, 0.0);
    for (at, rank) in ranks.iter().enumerate().take(ranks.len().saturating_sub(1)) {
        u += 2.0 * rank - mean_twice;
        if f64::abs(u) > best.1 {
            best = (at + 1, f64::abs(u));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::rand_core::Rng;

    use super::*;

    /// Normal noise of 2 % around 100 (Irwin and Hall: twelve uniforms).
    fn noise(count: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        let mut uniform = || random.next_u64() as f64 / u64::MAX as f64;
        let mut one = || 100.0 + 2.0 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0);
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let mut values = vec![10.0, 10.2, 9.9, 10.1, 10.0, 10.3];
        values.extend([9.0, 9.1, 8.9, 9.2, 9.0, 8.8]);
        let found = change_points(&values);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].index, 6);
        assert!((found[0].change() + 0.104).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn several_steps_are_found_and_levels_lie_between_them() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let level = |height: f64, random: &mut _| {
            noise(15, random)
                .into_iter()
                .map(move |value| value * height)
        };
        let mut values: Vec<f64> = level(1.0, &mut random).collect();
        values.extend(level(1.3, &mut random));
        values.extend(level(0.8, &mut random));
        let found = change_points(&values);
        let places: Vec<usize> = found.iter().map(|change| change.index).collect();
        assert_eq!(places, [15, 30]);
        assert_eq!(found[0].after, found[1].before);
    }

    #[test]
    fn too_few_values_and_a_lone_outlier_are_no_change() {
        assert!(change_points(&[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]).is_empty());
        let mut values = vec![10.0; 20];
        values[7] = 50.0;
        assert!(change_points(&values).is_empty());
        assert!(change_points(&[]).is_empty());
    }

    #[test]
    fn noise_is_rarely_a_change_and_a_tenth_nearly_always() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(20_261_123);
        let (mut false_alarms, mut missed) = (0, 0);
        for _ in 0..300 {
            let mut values = noise(30, &mut random);
            false_alarms += usize::from(!change_points(&values).is_empty());
            for value in &mut values[18..] {
                *value *= 0.9;
            }
            let found = change_points(&values);
            let there = |change: &ChangePoint| change.index.abs_diff(18) <= 1;
            missed += usize::from(!found.iter().any(there));
        }
        // 1 % of 300 are 3; 9 or more come by chance 3 times in 1,000.
        assert!(false_alarms <= 8, "{false_alarms} of 300 false alarms");
        assert!(missed <= 6, "{missed} of 300 missed");
    }
}
