//! Intervals of a ratio from ranks alone: exact for every shape of noise, at any level that the
//! samples can reach.
//!
//! A gate over many rows asks for intervals far out in the tails, where a bootstrap of ten
//! repetitions has nothing to draw from. Ranks have: of two samples of ten, all of one lie above all
//! of the other by chance once in 184,756 times.

mod counts;
mod resemblance;

use statrs::distribution::{ContinuousCDF, Normal};

use crate::stats::{Interval, sorted};

pub use counts::{fewest_paired, fewest_unpaired};
pub use resemblance::Resemblance;

use counts::{choose, mann_whitney_rank, signed_rank, signs};

/// More repetitions than these nobody is asked for.
pub const MOST_PLANNED: usize = 1_000;

/// The power that [`Bounds::repetitions`] plans for: the share of new runs that would decide if
/// the change is what it seems to be.
pub const PLANNED_POWER: f64 = 0.9;

/// Repetitions of both sides of a comparison: all logarithms, in whatever order they were measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Logs {
    /// Measured at different times, independent of each other.
    Unpaired {
        /// Of the base.
        base: Vec<f64>,
        /// Of the new side.
        new: Vec<f64>,
    },
    /// New less base, of pairs that were measured together.
    Paired(Vec<f64>),
}

/// What ranks say about a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Where the ratio lies, but for the tails that were asked for; `None` when there are too few
    /// repetitions to tell.
    pub interval: Option<Interval>,
    /// The interval that more repetitions are planned by: the widest where there is none with the
    /// tails that were asked for.
    planned: Interval,
    /// What that leaves out at either end.
    planned_tail: f64,
    tail: f64,
    n: f64,
    fewest: usize,
}

impl Logs {
    /// Two independent samples of positive figures. `None` when one is empty or holds a figure that
    /// isn't positive.
    pub fn unpaired(base: &[f64], new: &[f64]) -> Option<Self> {
        Some(Self::Unpaired {
            base: logs(base)?,
            new: logs(new)?,
        })
    }

    /// The ratios of pairs, new over base. `None` when there are none, or one isn't positive.
    pub fn paired(ratios: &[f64]) -> Option<Self> {
        Some(Self::Paired(logs(ratios)?))
    }

    /// The interval of the ratio, new over base, that leaves out the probability `tail` at either
    /// end.
    ///
    /// Unpaired: the shift of the logarithms by Mann and Whitney's test, between the k-th smallest and the
    /// k-th largest of all differences (Hodges & Lehmann 1963; Hollander, Wolfe & Chicken,
    /// *Nonparametric Statistical Methods*, 3rd ed., section 4.3; R's `wilcox.test(conf.int =
    /// TRUE)`). It covers exactly what it says when the repetitions are independent of each other.
    ///
    /// Paired: what Wilcoxon's signed ranks and the signs alone both allow, each with half of the tail:
    /// between Walsh averages (section 3.3 there), which is the narrower one for most noise, and between
    /// the k-th smallest and the k-th largest ratio (section 3.6), which a few outliers don't
    /// reach. The order within each round is drawn at random, so two builds that are the same have each
    /// sign with probability one half, however the machine drifts: what it says of those is exact
    /// whatever the noise.
    pub fn bounds(&self, tail: f64) -> Bounds {
        match self {
            Self::Unpaired { base, new } => {
                let (base, new) = (sorted(base), sorted(new));
                let (n, m) = (base.len(), new.len());
                let pairs = n * m;
                let at_most = |x: f64| {
                    let mut reached = 0;
                    let below = |&a: &f64| {
                        reached += new[reached..].iter().take_while(|&&b| b - a <= x).count();
                        reached
                    };
                    base.iter().map(below).sum()
                };
                let ends = (new[0] - base[n - 1], new[m - 1] - base[0]);
                let between = |k| between(pairs, k, ends, at_most);
                let interval = mann_whitney_rank(n, m, tail).map(between);
                Bounds {
                    interval,
                    planned: interval.unwrap_or_else(|| between(1)),
                    planned_tail: tail.max(1.0 / choose(n + m, n)),
                    tail,
                    n: 2.0 / (1.0 / n as f64 + 1.0 / m as f64),
                    fewest: fewest_unpaired(tail),
                }
            }
            Self::Paired(differences) => {
                let x = sorted(differences);
                let n = x.len();
                let averages = n * (n + 1) / 2;
                // Pairs i <= j with an average of at most t: for each i, the j from i on.
                let at_most = |t: f64| {
                    let upto =
                        |i: usize| x[i..].partition_point(|&other| f64::midpoint(x[i], other) <= t);
                    (0..n).map(upto).sum()
                };
                let by_ranks = |k| between(averages, k, (x[0], x[n - 1]), at_most);
                let by_signs = |k: usize| Interval {
                    low: x[k - 1].exp(),
                    high: x[n - k].exp(),
                };
                let both = |(ranks, signs)| {
                    let (ranks, signs) = (by_ranks(ranks), by_signs(signs));
                    let low = ranks.low.max(signs.low);
                    let high = ranks.high.min(signs.high);
                    match low <= high {
                        true => Interval { low, high },
                        // Of noise with two humps they may have nothing in common.
                        false => Interval {
                            low: ranks.low.min(signs.low),
                            high: ranks.high.max(signs.high),
                        },
                    }
                };
                let interval = signed_rank(n, tail / 2.0)
                    .zip(signs(n, tail / 2.0))
                    .map(both);
                Bounds {
                    interval,
                    planned: interval.unwrap_or_else(|| by_ranks(1)),
                    planned_tail: tail.max(2.0 * 0.5_f64.powi(n as i32)),
                    tail,
                    n: n as f64,
                    fewest: fewest_paired(tail),
                }
            }
        }
    }
}

impl Bounds {
    /// The same where repetitions resemble each other, around `center`: wider, and nothing at all
    /// where too few are left that say anything of their own.
    pub fn resembling(self, resemblance: Resemblance, center: f64) -> Self {
        let Resemblance { at_least, at_most } = resemblance;
        let wide = |Interval { low, high }: Interval, repetitions: f64| {
            // Medians of noise with two humps can lie outside: no end may move inwards.
            let center = center.clamp(low, high);
            Interval {
                low: center * (low / center).powf(repetitions.sqrt()),
                high: center * (high / center).powf(repetitions.sqrt()),
            }
        };
        let fewest = |repetitions: f64| (self.fewest as f64 * repetitions).ceil();
        let enough = self.n >= fewest(at_least);
        Self {
            interval: self
                .interval
                .filter(|_| enough)
                .map(|interval| wide(interval, at_least)),
            planned: wide(self.planned, at_most),
            fewest: fewest(at_most) as usize,
            ..self
        }
    }

    /// Repetitions of both sides after which the interval would leave out both `low` and `high`, or
    /// lie between them, in a share of [`PLANNED_POWER`] of all tries, if the ratio is `seen` and the
    /// noise is as it was. `None` when that would take more than [`MOST_PLANNED`], as it does where `seen`
    /// lies on one of them.
    ///
    /// An interval shrinks with the root of the repetitions; at the planned power it has to shrink so
    /// far that the estimate's own scatter doesn't carry it over the limit again.
    pub fn repetitions(&self, seen: f64, low: f64, high: f64) -> Option<usize> {
        let normal = Normal::standard();
        let reach = |tail: f64| -normal.inverse_cdf(tail.clamp(1e-300, 0.5));
        let interval = self.planned;
        let (below, above) = (
            (seen / interval.low).ln().max(0.0),
            (interval.high / seen).ln().max(0.0),
        );
        let (from_low, from_high) = ((seen / low).ln(), (high / seen).ln());
        // How many times too wide it is.
        let excess = if from_low < 0.0 {
            above / -from_low
        } else if from_high < 0.0 {
            below / -from_high
        } else {
            (below / from_low).max(above / from_high)
        };
        let wanted = reach(self.tail) + normal.inverse_cdf(PLANNED_POWER);
        // One repetition has no tail that its width could belong to.
        let excess = excess * wanted / reach(self.planned_tail.min(0.25));
        let needed = (self.n * excess * excess).ceil();
        (needed <= MOST_PLANNED as f64).then(|| (needed as usize).max(self.fewest))
    }
}

fn logs(figures: &[f64]) -> Option<Vec<f64>> {
    let logs: Vec<f64> = figures.iter().map(|figure| figure.ln()).collect();
    (!logs.is_empty() && logs.iter().all(|log| log.is_finite())).then_some(logs)
}

/// From the k-th smallest to the k-th largest of `total` numbers between two `ends`, of which
/// `at_most` counts; their exponentials.
fn between(total: usize, k: usize, ends: (f64, f64), at_most: impl Fn(f64) -> usize) -> Interval {
    let smallest = |k: usize| {
        let (mut low, mut high) = ends;
        if at_most(low) >= k {
            return low;
        }
        // Ends at neighbouring numbers.
        loop {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                return high;
            }
            match at_most(middle) >= k {
                true => high = middle,
                false => low = middle,
            }
        }
    };
    Interval {
        low: smallest(k).exp(),
        high: smallest(total + 1 - k).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: [f64; 6] = [24.0, 24.5, 24.2, 23.9, 24.1, 24.3];
    const NEW: [f64; 7] = [21.9, 22.1, 22.0, 22.4, 21.8, 22.2, 21.7];

    #[test]
    fn the_interval_of_a_ratio_lies_between_ratios_of_repetitions() {
        let bounds = Logs::unpaired(&BASE, &NEW).unwrap().bounds(0.025);
        let rank = mann_whitney_rank(6, 7, 0.025).unwrap();
        let mut ratios: Vec<f64> = BASE
            .iter()
            .flat_map(|base| NEW.map(|new| (new.ln() - base.ln()).exp()))
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let interval = bounds.interval.unwrap();
        assert_eq!(interval.low, ratios[rank - 1]);
        assert_eq!(interval.high, ratios[ratios.len() - rank]);
    }

    #[test]
    fn the_interval_of_pairs_lies_between_their_averages() {
        let ratios: Vec<f64> = BASE.iter().zip(NEW).map(|(base, new)| new / base).collect();
        let bounds = Logs::paired(&ratios).unwrap().bounds(0.05);
        let rank = signed_rank(6, 0.025).unwrap();
        let mut averages = Vec::new();
        for (i, first) in ratios.iter().enumerate() {
            for second in &ratios[i..] {
                averages.push((first * second).sqrt());
            }
        }
        averages.sort_unstable_by(f64::total_cmp);
        let interval = bounds.interval.unwrap();
        assert!((interval.low - averages[rank - 1]).abs() < 1e-12);
        assert!((interval.high - averages[averages.len() - rank]).abs() < 1e-12);
    }

    #[test]
    fn a_few_outliers_among_pairs_widen_nothing() {
        let mut ratios = vec![1.1; 20];
        (ratios[3], ratios[7], ratios[12]) = (9.0, 0.1, 8.0);
        let bounds = Logs::paired(&ratios).unwrap().bounds(0.005);
        let Interval { low, high } = bounds.interval.unwrap();
        assert!((low - 1.1).abs() < 1e-12 && (high - 1.1).abs() < 1e-12);
        assert_eq!((signs(20, 0.0025), signs(5, 0.025)), (Some(4), None));
    }

    #[test]
    fn ranks_and_signs_that_contradict_each_other_tell_nothing() {
        // More than half at 1.0, so that the signs lie there; the averages' middle is between the humps.
        let ratios: Vec<f64> = (0..270)
            .map(|at| match at < 108 {
                true => 1.5,
                false => 1.0 + 1e-6 * f64::from(at),
            })
            .collect();
        let bounds = Logs::paired(&ratios).unwrap().bounds(0.005);
        let Interval { low, high } = bounds.interval.unwrap();
        assert!(low < 1.001 && high > 1.2, "{low} to {high}");
    }

    #[test]
    fn what_never_varies_has_no_width() {
        let bounds = Logs::unpaired(&[7.0; 9], &[7.0; 9]).unwrap().bounds(1e-4);
        let exactly = Interval {
            low: 1.0,
            high: 1.0,
        };
        assert_eq!(bounds.interval, Some(exactly));
    }

    #[test]
    fn too_few_repetitions_have_no_interval_but_a_number_that_would_do() {
        let bounds = Logs::unpaired(&BASE, &NEW).unwrap().bounds(1e-5);
        assert_eq!(bounds.interval, None);
        assert_eq!(fewest_unpaired(1e-5), 10);
        assert!(bounds.repetitions(0.91, 0.95, 1.05).unwrap() >= 10);
        assert_eq!(fewest_paired(1e-3), 11);
    }

    #[test]
    fn a_narrower_question_takes_more_repetitions() {
        let noisy = [23.0, 25.0, 23.5, 24.5, 24.0, 24.2, 23.8, 23.2];
        let bounds = Logs::unpaired(&noisy, &noisy).unwrap().bounds(0.001);
        let near = bounds.repetitions(0.93, 0.95, 1.05).unwrap();
        let far = bounds.repetitions(0.80, 0.95, 1.05).unwrap();
        assert!(near > 10 * far, "{near} and {far}");
        assert_eq!(bounds.repetitions(0.95, 0.95, 1.05), None);
    }

    #[test]
    fn repetitions_that_resemble_each_other_count_for_less() {
        let unpaired = |at: fn(i32) -> i32| {
            let series: Vec<f64> = (0..40).map(|i| f64::from(at(i))).collect();
            Logs::Unpaired {
                base: series.clone(),
                new: series,
            }
        };
        let slow = unpaired(|at| at / 5 % 2);
        assert!((3.0..12.0).contains(&Resemblance::of([&slow]).at_least));
        let none = Resemblance::NONE;
        assert_eq!(Resemblance::of([&unpaired(|at| at % 2)]), none);
        // A trend is no resemblance.
        assert_eq!(Resemblance::of([&unpaired(|at| 7 * at + at % 2)]), none);
        assert_eq!(Resemblance::of([&Logs::Paired(vec![1.0; 40])]), none);
        assert_eq!(Resemblance::of([]), none);
        let bounds = Logs::unpaired(&BASE, &NEW).unwrap().bounds(0.025);
        let of = |at_least| Resemblance {
            at_least,
            at_most: at_least,
        };
        let wide = bounds.resembling(of(1.44), 0.9).interval.unwrap();
        let narrow = bounds.interval.unwrap();
        assert!((wide.low / 0.9 - (narrow.low / 0.9).powf(1.2)).abs() < 1e-12);
        assert_eq!(bounds.resembling(of(4.0), 0.9).interval, None);
        let aside = bounds.resembling(of(1.44), 0.5).interval.unwrap();
        assert!(aside.low == narrow.low && aside.high > narrow.high);
    }

    #[test]
    fn figures_that_have_no_ratio_have_no_logs() {
        assert_eq!(Logs::unpaired(&[], &BASE), None);
        assert_eq!(Logs::unpaired(&[0.0, 1.0], &BASE), None);
        assert_eq!(Logs::paired(&[f64::NAN]), None);
    }
}
