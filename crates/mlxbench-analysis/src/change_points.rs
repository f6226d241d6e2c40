//! Where a figure changed its level from one result to the next, over many results.
//!
//! Pettitt's test (*Journal of the Royal Statistical Society C* 28, 1979) asks by ranks alone
//! whether a series has one change of level, and where: a rate needn't be normal, and one result
//! that is far off weighs no more than its rank. Binary segmentation (Vostrikova, *Soviet
//! Mathematics Doklady* 24, 1981) asks the same of both sides again.
//!
//! What it can't do: see [`change_points`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde::Serialize;

use crate::stats::{BOOTSTRAP_SEED, index_below, median};

/// How often a series without any change may be given one: in one of 100. Many series together take
/// less: see [`change_points_at`].
pub const SIGNIFICANCE: f64 = 0.01;

/// The smallest change of the median that is worth a mark: 2 %.
pub const SMALLEST_CHANGE: f64 = 0.02;

/// The fewest values among which a change can be found: five on one level, then five on another
/// without any overlap, which chance does in 2 of 252 cases. Nine can't be rarer than 2.8 %.
pub const FEWEST_FOR_CHANGE_POINT: usize = 10;

/// The fewest values of a level: fewer than five at an end of any series are never rare enough.
const SHORTEST_LEVEL: usize = FEWEST_FOR_CHANGE_POINT / 2;

/// Up to so many values a p-value is exact. It takes n 2^n steps.
const EXACT_UP_TO: usize = 14;

/// Up to so many values a p-value is drawn where it isn't exact.
const DRAWN_UP_TO: usize = 1000;

/// Random orders behind the p-value of more than 14 values.
pub const ORDERS: usize = 10_000;

/// Orders as rare as the one that was found after which no more are drawn: a p-value is then known
/// to a tenth of itself.
const ENOUGH: usize = 100;

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChangePoint {
    /// The first value of the new level.
    pub index: usize,
    /// The median from the change before, or the beginning, up to this one.
    pub before: f64,
    /// The median from here to the next change, or the end.
    pub after: f64,
    /// By what share of `before` the median changed: -0.05 is 5 % less.
    pub change: f64,
    /// [`Pettitt::p_value`] of these two levels alone.
    pub p_value: f64,
}

/// The changes of level in finite `values`, in the order of their time.
///
/// A split of n values is taken where Pettitt's test says p <= [`SIGNIFICANCE`], a split of m of
/// them where p <= [`SIGNIFICANCE`] m / n: the parts of a series share its chance of a false alarm
/// by their lengths (Bonferroni). Each split is then put and tested again between its neighbours
/// alone, since the first ones were found with further changes in view, and what doesn't stand
/// [`SIGNIFICANCE`] there or changes the median by less than [`SMALLEST_CHANGE`] is dropped, the
/// smallest change first. A median of 0, of which nothing is a share, has no change.
///
/// - Fewer than [`FEWEST_FOR_CHANGE_POINT`] values never have a change.
/// - A new level is seen late: of n values it must hold about √n even when nothing overlaps, that
///   is 5 of 10, 7 of 30, 8 of 50 and 11 of 100 to be seen always.
/// - A change that is soon taken back mostly isn't seen: the test looks for one change, and two
///   opposite ones hide each other. Between 20 values before and 20 after, a level of 22 is seen
///   always, one of 15 in two series of five, one of 10 in one of seven.
/// - Values count as independent. Where a series wanders slowly, its wandering is found, in every
///   eighth series of 20 whose neighbours correlate by 0.5: see
///   [`lag_one_autocorrelation`](crate::lag_one_autocorrelation). So is a slow drift, as steps.
/// - A series that is looked at again after each result has more than one chance of a false alarm.
///
/// `tests/change_points.rs` measures how often it is wrong, and how often it sees a change.
pub fn change_points(values: &[f64]) -> Vec<ChangePoint> {
    change_points_at(values, SIGNIFICANCE)
}

/// [`change_points`] at another `significance` than [`SIGNIFICANCE`]: that of one of many series which are
/// looked at together, such as [`history::significance`](crate::history::significance).
pub fn change_points_at(values: &[f64], significance: f64) -> Vec<ChangePoint> {
    let mut splits = Vec::new();
    segment(values, 0..values.len(), significance, &mut splits);
    let mut pairs = Pairs {
        values,
        nearest: HashMap::new(),
        p_values: HashMap::new(),
    };
    loop {
        pairs.move_between_neighbours(&mut splits);
        let found = pairs.changes(&splits);
        let stands = |change: &ChangePoint| {
            change.p_value <= significance && change.change.abs() >= SMALLEST_CHANGE
        };
        let fallen = found.iter().enumerate().filter(|(_, it)| !stands(it));
        let smallest = fallen.min_by(|(_, a), (_, b)| a.change.abs().total_cmp(&b.change.abs()));
        match smallest {
            Some((place, _)) => splits.remove(place),
            None => return found,
        };
    }
}

/// Adds where the values of `part`, and those of both its sides, change their level.
fn segment(values: &[f64], part: Range<usize>, significance: f64, splits: &mut Vec<usize>) {
    if part.len() < FEWEST_FOR_CHANGE_POINT {
        return;
    }
    let level = significance * part.len() as f64 / values.len() as f64;
    let found = Pettitt::of(&values[part.clone()]).filter(|found| found.p_value <= level);
    if let Some(found) = found {
        let split = part.start + found.index;
        segment(values, part.start..split, significance, splits);
        splits.push(split);
        segment(values, split..part.end, significance, splits);
    }
}

/// From where the level before the split at `place` begins to where the one after it ends.
fn levels(splits: &[usize], place: usize, end: usize) -> Range<usize> {
    let before = place.checked_sub(1).map_or(0, |before| splits[before]);
    before..splits.get(place + 1).copied().unwrap_or(end)
}

/// Two neighbouring levels of a series, by where the first begins and the second ends. What was found of them
/// is kept: where one split of a thousand falls, only those beside it change.
struct Pairs<'a> {
    values: &'a [f64],
    /// [`split_of_least_distance`].
    nearest: HashMap<Range<usize>, Option<usize>>,
    /// [`Pettitt::p_value`].
    p_values: HashMap<Range<usize>, Option<f64>>,
}

impl Pairs<'_> {
    /// Puts each split where its two levels lie nearest to their medians, by the sum of all distances
    /// (Bai, *Econometric Theory* 11, 1995). Pettitt's own place leans towards the middle: of 50 values
    /// and 10 clearly lower ones it is more than one off in 40 %.
    fn move_between_neighbours(&mut self, splits: &mut [usize]) {
        for place in 0..splits.len() {
            let both = levels(splits, place, self.values.len());
            let start = both.start;
            let nearest = self.nearest.entry(both.clone()).or_insert_with(|| {
                // A single value far off must not become a level of its own at the end.
                let all = SHORTEST_LEVEL..both.len().saturating_sub(SHORTEST_LEVEL) + 1;
                split_of_least_distance(&self.values[both], all)
            });
            if let Some(nearest) = nearest {
                splits[place] = start + *nearest;
            }
        }
    }

    fn changes(&mut self, splits: &[usize]) -> Vec<ChangePoint> {
        let values = self.values;
        let change = |(place, &index): (usize, &usize)| {
            let both = levels(splits, place, values.len());
            let before = median(&values[both.start..index])?;
            let after = median(&values[index..both.end])?;
            let change = (after - before) / before.abs();
            let p_value = self.p_values.entry(both.clone());
            let p_value =
                *p_value.or_insert_with(|| Pettitt::of(&values[both]).map(|test| test.p_value));
            Some(ChangePoint {
                index,
                before,
                after,
                change: if change.is_finite() { change } else { 0.0 },
                p_value: p_value?,
            })
        };
        splits.iter().enumerate().filter_map(change).collect()
    }
}

/// Which of the `splits` of `values` has the least sum of distances to the medians of its two sides;
/// `None` where there are none to choose from.
pub(crate) fn split_of_least_distance(values: &[f64], splits: Range<usize>) -> Option<usize> {
    let before = distances(values.iter());
    let after = distances(values.iter().rev());
    let sides = |split: usize| before[split] + after[values.len() - split];
    splits.min_by(|&a, &b| sides(a).total_cmp(&sides(b)))
}

/// The sums of the distances of the first 0, 1, 2 ... `values` to their median: the sum of the larger half less
/// that of the smaller, each half a heap of ranks.
fn distances<'a>(values: impl Iterator<Item = &'a f64>) -> Vec<f64> {
    let values: Vec<f64> = values.copied().collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0; values.len()];
    let placed = order.iter().enumerate();
    placed.for_each(|(rank, &at)| ranks[at] = rank);
    // Of values that lie near each other: differences of large sums would be rounding.
    let of = |rank: usize| values[order[rank]] - values[0];
    let (mut smaller, mut larger) = (BinaryHeap::new(), BinaryHeap::new());
    let mut sum = 0.0;
    let mut sums = vec![0.0];
    for rank in ranks {
        smaller.push(rank);
        sum -= of(rank);
        if let Some(largest) = smaller.pop() {
            larger.push(Reverse(largest));
            sum += 2.0 * of(largest);
        }
        if larger.len() > smaller.len()
            && let Some(Reverse(least)) = larger.pop()
        {
            smaller.push(least);
            sum -= 2.0 * of(least);
        }
        let median = smaller.peek().filter(|_| smaller.len() > larger.len());
        sums.push(sum + median.map_or(0.0, |&median| of(median)));
    }
    sums
}

/// Pettitt's test for one change of level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pettitt {
    /// The first value after the most likely change; the first such where several are as likely.
    pub index: usize,
    /// K: the largest |U_t|, where U_t counts the pairs of one value before t and one from t on that
    /// ascend, less those that descend.
    pub k: u64,
    /// How likely values in random order are to have a K at least as large, from 0 to 1.
    pub p_value: f64,
}

impl Pettitt {
    /// Tests finite `values`, in the order of their time. `None` for fewer than two.
    ///
    /// Up to 14 values the p-value is exact, with ties as well: the share of all orders of the values. For
    /// more it is the smaller of two: Pettitt's approximation 2 exp(-6 K² / (n³ + n²)), and the share of
    /// [`ORDERS`] random orders, of which fewer are drawn where it isn't small (Besag & Clifford,
    /// *Biometrika* 78, 1991). The approximation alone is far too large: where it says 1 %, chance does so in
    /// 0.06 % of series of 16 values, 0.3 % of 30 and 0.6 % of 100. Random orders alone never say less than 1
    /// in [`ORDERS`]. The seed is fixed. Of more than 1000 values the approximation is near enough: where it
    /// says 1 %, chance does so in 0.9 %.
    pub fn of(values: &[f64]) -> Option<Self> {
        let ranks = doubled_ranks(values);
        let n = values.len() as i64;
        let mut sum = 0;
        let mut best: Option<(usize, u64)> = None;
        for (index, rank) in (1..values.len()).zip(&ranks) {
            sum += rank - (n + 1);
            let u = sum.unsigned_abs();
            if best.is_none_or(|(_, k)| u > k) {
                best = Some((index, u));
            }
        }
        let (index, k) = best?;
        let p_value = if values.len() <= EXACT_UP_TO {
            exact_p_value(&ranks, k)
        } else {
            let approximation = approximate_p_value(values.len(), k);
            // Drawing couldn't say less, or would take its time for what is known well enough.
            if approximation <= 1.0 / ORDERS as f64 || values.len() > DRAWN_UP_TO {
                approximation.min(1.0)
            } else {
                approximation.min(drawn_p_value(ranks, k))
            }
        };
        Some(Self { index, k, p_value })
    }
}

/// Pettitt 1979, section 2.3: the limit for many values, from above.
fn approximate_p_value(n: usize, k: u64) -> f64 {
    let (k, n) = (k as f64, n as f64);
    2.0 * (-6.0 * k * k / (n.powi(3) + n.powi(2))).exp()
}

/// The share of random orders of values with these ranks in which some |U_t| reaches `k`, until
/// [`ORDERS`] or [`ENOUGH`] of those were drawn; the order that was found counts as one of them.
fn drawn_p_value(mut doubled_ranks: Vec<i64>, k: u64) -> f64 {
    let mean = doubled_ranks.len() as i64 + 1;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(BOOTSTRAP_SEED);
    let mut reached = 0;
    for drawn in 1..=ORDERS {
        shuffle(&mut doubled_ranks, &mut random);
        let mut sum = 0;
        reached += usize::from(doubled_ranks.iter().any(|rank| {
            sum += rank - mean;
            sum.unsigned_abs() >= k
        }));
        if reached == ENOUGH {
            return reached as f64 / drawn as f64;
        }
    }
    (reached + 1) as f64 / (ORDERS + 1) as f64
}

/// Puts `values` into a random order (Durstenfeld 1964).
fn shuffle(values: &mut [i64], random: &mut Xoshiro256PlusPlus) {
    for last in (1..values.len()).rev() {
        values.swap(last, index_below(last + 1, random));
    }
}

/// Twice the rank of each value, ties sharing theirs. U_t is their sum before t, less t (n + 1).
fn doubled_ranks(values: &[f64]) -> Vec<i64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0; values.len()];
    let mut below = 0;
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &at in ties {
            ranks[at] = (2 * below + ties.len() + 1) as i64;
        }
        below += ties.len();
    }
    ranks
}

/// The share of all orders of values with these ranks in which some |U_t| reaches `k`.
///
/// U_t depends on which values come before t, not on their order. So of all orders of a set the
/// share that stayed below `k` is the mean of the shares of the sets without one of its values, or
/// 0 where the set's own |U_t| reaches `k`.
fn exact_p_value(doubled_ranks: &[i64], k: u64) -> f64 {
    let n = doubled_ranks.len();
    let mut sums = vec![0; 1 << n];
    let mut stayed_below = vec![0.0; 1 << n];
    stayed_below[0] = 1.0;
    for set in 1_usize..1 << n {
        let rest = set & (set - 1);
        sums[set] = sums[rest] + doubled_ranks[set.trailing_zeros() as usize] - (n as i64 + 1);
        let u: i64 = sums[set];
        if u.unsigned_abs() < k {
            let mut members = set;
            let mut total = 0.0;
            while members != 0 {
                total += stayed_below[set ^ (1 << members.trailing_zeros())];
                members &= members - 1;
            }
            stayed_below[set] = total / f64::from(set.count_ones());
        }
    }
    (1.0 - stayed_below[(1 << n) - 1]).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values with ties among them.
    fn some_values() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec((0..40).prop_map(|value| f64::from(value) / 4.0), 0..60)
    }

    proptest! {
        #[test]
        fn distances_are_those_to_the_medians(values in some_values()) {
            let direct = |count: usize| {
                let median = median(&values[..count]).unwrap_or_default();
                values[..count].iter().map(|value| (value - median).abs()).sum::<f64>()
            };
            let expected: Vec<f64> = (0..=values.len()).map(direct).collect();
            prop_assert_eq!(distances(values.iter()), expected);
        }

        #[test]
        fn ranks_count_what_is_below_and_half_of_what_is_equal(values in some_values()) {
            let direct = |value: &f64| {
                let below = values.iter().filter(|other| *other < value).count();
                let equal = values.iter().filter(|other| *other == value).count();
                (2 * below + equal + 1) as i64
            };
            let expected: Vec<i64> = values.iter().map(direct).collect();
            prop_assert_eq!(doubled_ranks(&values), expected);
        }
    }

    /// Values around each level, none twice the same: 0.1 % apart.
    fn series(levels: &[(f64, usize)]) -> Vec<f64> {
        let around = |&(level, count): &(f64, usize)| {
            (0..count).map(move |i| level * (1.0 + 0.001 * ((i * 7 % 10) as f64 - 4.5)))
        };
        levels.iter().flat_map(around).collect()
    }

    fn indices(values: &[f64]) -> Vec<usize> {
        let found = change_points(values);
        found.iter().map(|change| change.index).collect()
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let found = change_points(&series(&[(100.0, 12), (90.0, 10)]));
        let [step] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(step.index, 12);
        assert!((step.before - 100.0).abs() < 0.5 && (step.after - 90.0).abs() < 0.5);
        assert!((step.change + 0.1).abs() < 0.01, "{step:?}");
        assert!(step.p_value < 0.001, "{step:?}");
    }

    #[test]
    fn five_and_five_are_the_fewest() {
        assert_eq!(indices(&series(&[(100.0, 5), (50.0, 5)])), [5]);
        let ten = Pettitt::of(&series(&[(100.0, 5), (50.0, 5)])).unwrap();
        assert!((ten.p_value - 2.0 / 252.0).abs() < 1e-12, "{ten:?}");
        // No order of nine is rare enough.
        let nine = Pettitt::of(&series(&[(100.0, 5), (50.0, 4)])).unwrap();
        assert!(nine.p_value > 0.028, "{nine:?}");
        assert!(indices(&series(&[(100.0, 5), (50.0, 4)])).is_empty());
    }

    #[test]
    fn a_new_level_is_seen_only_when_it_lasts() {
        for (n, enough, too_few) in [(10, 5, 3), (30, 7, 4), (50, 8, 5), (100, 11, 7)] {
            let seen = |new: usize| !indices(&series(&[(100.0, n - new), (50.0, new)])).is_empty();
            assert!(seen(enough), "{enough} of {n}");
            assert!(!seen(too_few), "{too_few} of {n}");
        }
    }

    #[test]
    fn each_of_several_levels_is_found() {
        let stairs = series(&[(100.0, 12), (110.0, 12), (125.0, 12), (105.0, 14)]);
        assert_eq!(indices(&stairs), [12, 24, 36]);
    }

    #[test]
    fn levels_of_thousands_are_found_where_they_are() {
        let levels = series(&[(100.0, 4000), (90.0, 300), (95.0, 3000), (90.0, 2000)]);
        assert_eq!(indices(&levels), [4000, 4300, 7300]);
    }

    #[test]
    fn a_change_that_is_taken_back_is_found_only_when_it_lasted() {
        let dip = |lasted| indices(&series(&[(100.0, 20), (90.0, lasted), (100.1, 20)]));
        assert_eq!(dip(22), [20, 42]);
        assert!(dip(6).is_empty());
    }

    #[test]
    fn less_than_two_per_cent_is_not_marked_however_certain() {
        let values = series(&[(100.0, 30), (98.5, 30)]);
        assert!(Pettitt::of(&values).unwrap().p_value < 1e-6);
        assert!(indices(&values).is_empty());
        assert_eq!(indices(&series(&[(100.0, 30), (97.5, 30)])), [30]);
    }

    #[test]
    fn results_far_off_are_no_level() {
        let mut values = series(&[(100.0, 30)]);
        values[17] = 10.0;
        values[18] = 1000.0;
        assert!(indices(&values).is_empty());
    }

    #[test]
    fn equal_values_have_no_change() {
        let equal = Pettitt::of(&[7.0; 12]).unwrap();
        assert_eq!((equal.k, equal.p_value), (0, 1.0));
        assert!(indices(&[7.0; 40]).is_empty());
    }

    #[test]
    fn orders_that_reach_just_as_far_count() {
        // The one value that differs is first or last in 2 of 15 orders.
        let mut values = [1.0; 15];
        values[0] = 0.0;
        let p_value = Pettitt::of(&values).unwrap().p_value;
        assert!((p_value - 2.0 / 15.0).abs() < 0.04, "{p_value}");
    }

    #[test]
    fn levels_without_any_noise_are_found() {
        let memory = [[1e9; 8], [1.2e9; 8]].concat();
        assert_eq!(indices(&memory), [8]);
    }

    #[test]
    fn a_median_of_nothing_has_no_share() {
        let values = [vec![0.0; 10], vec![1.0; 10]].concat();
        assert!(indices(&values).is_empty());
    }

    #[test]
    fn no_values_have_no_change() {
        assert_eq!(Pettitt::of(&[]), None);
        assert_eq!(Pettitt::of(&[1.0]), None);
        assert!(change_points(&[]).is_empty());
    }
}
