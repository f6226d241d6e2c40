//! Two runs at different times, by ranks: Mann and Whitney's test of each row, all rows judged together by
//! exchanging repetitions between the runs.
//!
//! Were both runs alike but for the margin, every way to deal the repetitions out to the two would have been as
//! likely. The same deal goes to all rows, so rows that resemble each other count for as much as they say
//! and no more, and the rank that the best row reaches by chance in at most [`LEVEL`] of all deals is exact where
//! repetitions are independent of each other and both runs' are alike but for the margin (Westfall & Young, *Resampling-Based
//! Multiple Testing*, 1993, algorithm 2.8). Rows that pass are set aside, and the others judged anew. Never is that less
//! than Holm's procedure on each row's own ranks; five repetitions beside five have 252 deals, so that
//! a whole gate can be told by them.
//!
//! A deal fits rows with the same numbers of repetitions. Others make groups of their own, each with its share of
//! [`LEVEL`] by its number of rows; once all rows of a group have passed, its share goes to those that are left
//! (Burman, Sonesson & Guilbaud, *A recycling framework for the construction of Bonferroni-based multiple tests*, 2009).
//! Where no two rows are alike, that is Holm's procedure.

use std::collections::BTreeMap;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal};

use super::counts::{choose, mann_whitney_rank};
use super::{Claim, Evidence, LEVEL, PLANNED_POWER, Resemblance, RunSpread};
use crate::variance::{logs, mean};

/// Deals that are looked at: all where there are no more, else so many that are drawn.
const DEALS: usize = 2_000;

/// Logarithms of the figures of two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    base: Vec<f64>,
    /// How many of the base's each of its runs has.
    runs: Vec<usize>,
    new: Vec<f64>,
    resemblance: Resemblance,
    spread: RunSpread,
}

impl Samples {
    /// Positive figures of two runs, in the order in which they were measured. `None` when one is empty or
    /// holds a figure that isn't positive.
    pub fn new(base: &[f64], new: &[f64]) -> Option<Self> {
        Self::of_runs(&[base.to_vec()], new)
    }

    /// The same of several runs of the base.
    pub fn of_runs(base: &[Vec<f64>], new: &[f64]) -> Option<Self> {
        Some(Self {
            base: logs(&base.concat()).filter(|logs| !logs.is_empty())?,
            runs: base.iter().map(Vec::len).filter(|run| *run > 0).collect(),
            new: logs(new).filter(|logs| !logs.is_empty())?,
            resemblance: Resemblance::NONE,
            spread: RunSpread::UNKNOWN,
        })
    }

    /// The same where repetitions resemble those before them.
    #[must_use]
    pub fn resembling(self, resemblance: Resemblance) -> Self {
        Self {
            resemblance,
            ..self
        }
    }

    /// The same where runs of the base differ from each other.
    #[must_use]
    pub fn spread(self, spread: RunSpread) -> Self {
        Self { spread, ..self }
    }

    /// The figures of each run of the base, in the order in which they were measured.
    pub(super) fn base_runs(&self) -> impl Iterator<Item = &[f64]> {
        let mut left = self.base.as_slice();
        self.runs.iter().map(move |&run| {
            let (own, others) = left.split_at(run);
            left = others;
            own
        })
    }

    /// The figures of each run, those of the base first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[f64]> {
        self.base_runs().chain([self.new.as_slice()])
    }

    /// The k-th largest of all differences, new less base (Hodges & Lehmann 1963), as much further away as
    /// repetitions that resemble each other and runs that differ make it.
    fn largest(&self, k: usize) -> f64 {
        let pairs = self
            .new
            .iter()
            .flat_map(|new| self.base.iter().map(move |base| new - base));
        let mut all: Vec<f64> = pairs.collect();
        let middle = all.len() / 2;
        let center = *all.select_nth_unstable_by(middle, f64::total_cmp).1;
        let at = all.len() - k;
        let end = *all.select_nth_unstable_by(at, f64::total_cmp).1;
        let of_repetitions = (end - center).max(0.0) * self.resemblance.at_least.sqrt();
        center + of_repetitions.hypot(self.spread.reach())
    }

    /// The pairs that reach `margin`, deal by deal.
    fn reaching(&self, margin: f64, deals: &[Vec<bool>]) -> Vec<u32> {
        let shifted = self.new.iter().map(|new| new - margin);
        let pooled: Vec<f64> = self.base.iter().copied().chain(shifted).collect();
        let mut order: Vec<usize> = (0..pooled.len()).collect();
        order.sort_unstable_by(|&a, &b| pooled[a].total_cmp(&pooled[b]));
        let ties: Vec<&[usize]> = order.chunk_by(|&a, &b| pooled[a] == pooled[b]).collect();
        let of_deal = |deal: &Vec<bool>| {
            let (mut base, mut pairs) = (0, 0);
            for tied in &ties {
                let new = tied.iter().filter(|&&at| deal[at]).count();
                base += tied.len() - new;
                pairs += new * base;
            }
            pairs as u32
        };
        deals.iter().map(of_deal).collect()
    }

    /// Whether there are repetitions enough to tell anything of a row alone, whatever they measured.
    fn has_enough(&self) -> bool {
        let (n, m) = self.shape();
        1.0 / choose(n + m, n) <= LEVEL
    }

    fn shape(&self) -> (usize, usize) {
        (self.base.len(), self.new.len())
    }
}

/// The fewest repetitions on both sides that can tell anything, whatever they measured.
fn fewest_repetitions() -> usize {
    let enough = |n: &usize| 1.0 / choose(2 * n, *n) <= LEVEL;
    (1..100).find(enough).unwrap_or(100)
}

impl Evidence for Samples {
    fn mirrored(&self) -> Self {
        let negative = |logs: &[f64]| logs.iter().map(|log| -log).collect();
        Self {
            base: negative(&self.base),
            new: negative(&self.new),
            ..self.clone()
        }
    }

    fn below(rows: &[Self], margins: &[f64]) -> Vec<Claim> {
        let none = Claim {
            holds: false,
            strength: f64::INFINITY,
        };
        let mut claims = vec![none; rows.len()];
        let mut groups = Group::all(rows, margins);
        loop {
            let left = groups.iter().filter(|group| !group.open.is_empty());
            let left: usize = left.map(|group| group.size).sum();
            let mut passed = false;
            for group in &mut groups {
                let strength = match group.rank(LEVEL * group.size as f64 / left as f64) {
                    Some(rank) => 1.0 / rank as f64,
                    None => f64::INFINITY,
                };
                for dealt in &group.open {
                    let end = rows[dealt.row].upper(strength);
                    claims[dealt.row] = Claim {
                        holds: end.is_some_and(|end| end < margins[dealt.row]),
                        strength,
                    };
                }
                let before = group.open.len();
                group.open.retain(|dealt| !claims[dealt.row].holds);
                passed |= group.open.len() < before;
            }
            if !passed {
                return claims;
            }
        }
    }

    /// The strength is 1 / k for the k-th largest difference.
    fn upper(&self, strength: f64) -> Option<f64> {
        let rank = (1.0 / strength).round() as usize;
        (rank > 0 && self.has_enough()).then(|| self.largest(rank))
    }

    fn alone(&self) -> f64 {
        let (n, m) = self.shape();
        mann_whitney_rank(n, m, LEVEL).map_or(f64::INFINITY, |rank| 1.0 / rank as f64)
    }

    fn planned(&self, distance: f64) -> f64 {
        let variance = |logs: &[f64]| {
            let (n, mean) = (logs.len() as f64, mean(logs));
            logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)
        };
        let variance = variance(&self.base) + variance(&self.new);
        let distance = (distance.powi(2) - self.spread.reach().powi(2))
            .max(0.0)
            .sqrt();
        let normal = Normal::standard();
        let reach = normal.inverse_cdf(1.0 - LEVEL / 10.0) + normal.inverse_cdf(PLANNED_POWER);
        let independent = variance * (reach / distance).powi(2);
        let longest = self.runs().map(<[f64]>::len).max().unwrap_or(0);
        (independent * self.resemblance.at_most)
            .max(longest as f64 + 1.0)
            .max(2.0 + fewest_repetitions() as f64 * self.resemblance.at_most)
    }

    fn runs_differ_by(&self, distance: f64) -> bool {
        self.spread.reach() > distance
    }
}

/// Rows with the same numbers of repetitions, which the same deals go to.
struct Group {
    /// Repetitions of the base and of the new run.
    shape: (usize, usize),
    /// How many rows it has.
    size: usize,
    /// Those that are not claimed yet.
    open: Vec<Dealt>,
}

/// What a row would say if its repetitions were dealt out to the two runs anew.
struct Dealt {
    /// Which row.
    row: usize,
    /// The pairs that reach its margin, deal by deal.
    reaching: Vec<u32>,
}

impl Group {
    /// All groups of those rows that have repetitions enough to tell anything.
    fn all(rows: &[Samples], margins: &[f64]) -> Vec<Self> {
        let mut of_shape: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.has_enough()) {
            of_shape.entry(row.shape()).or_default().push(at);
        }
        let group = |(shape, own): ((usize, usize), Vec<usize>)| {
            let deals = deals(shape.0, shape.1);
            let dealt = |row: usize| Dealt {
                row,
                reaching: rows[row].reaching(margins[row], &deals),
            };
            Self {
                shape,
                size: own.len(),
                open: own.into_iter().map(dealt).collect(),
            }
        };
        of_shape.into_iter().map(group).collect()
    }

    /// The rank k of the difference that bounds each row that is open: fewer than k pairs reach the margin in any of
    /// them by chance in at most the share `level` of all deals. `None` where there is none.
    fn rank(&self, level: f64) -> Option<usize> {
        if let [_] = self.open.as_slice() {
            return mann_whitney_rank(self.shape.0, self.shape.1, level);
        }
        let deals = self.open.first()?.reaching.len();
        let best = |deal: usize| self.open.iter().map(|dealt| dealt.reaching[deal]).min();
        let mut best: Vec<u32> = (0..deals).filter_map(best).collect();
        best.sort_unstable();
        let allowed = (level * deals as f64).floor() as usize;
        // All that are smaller than the first which isn't allowed.
        let first = best.get(allowed).copied().unwrap_or(0) as usize;
        (first > 0).then_some(first)
    }
}

/// Which repetitions are dealt to the new run, that of what was measured first.
fn deals(n: usize, m: usize) -> Vec<Vec<bool>> {
    let measured: Vec<bool> = (0..n + m).map(|at| at >= n).collect();
    if choose(n + m, n) <= DEALS as f64 {
        return combinations(n + m, m);
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64((n * 1_000 + m) as u64);
    let mut deals = vec![measured.clone()];
    deals.resize_with(DEALS, || {
        let mut deal = measured.clone();
        for last in (1..deal.len()).rev() {
            deal.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        deal
    });
    deals
}

/// All ways to choose `chosen` of `all`.
fn combinations(all: usize, chosen: usize) -> Vec<Vec<bool>> {
    if chosen > all {
        return Vec::new();
    }
    if all == 0 {
        return vec![Vec::new()];
    }
    let with = |last: bool, mut rest: Vec<Vec<bool>>| {
        rest.iter_mut().for_each(|deal| deal.push(last));
        rest
    };
    let mut ways = with(false, combinations(all - 1, chosen));
    if chosen > 0 {
        ways.extend(with(true, combinations(all - 1, chosen - 1)));
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of five figures beside five, the new ones so many per cent of the base's.
    fn row(noise: [f64; 10], percent: f64) -> Samples {
        let new: Vec<f64> = noise[5..].iter().map(|x| x * percent / 100.0).collect();
        Samples::new(&noise[..5], &new).unwrap()
    }

    const QUIET: [f64; 10] = [
        20.0, 20.1, 20.3, 20.2, 19.9, 20.05, 20.15, 19.95, 20.25, 20.0,
    ];
    const OTHER: [f64; 10] = [30.3, 30.0, 30.4, 29.9, 30.1, 30.0, 30.5, 30.2, 30.1, 29.8];

    #[test]
    fn five_beside_five_decide_a_whole_gate_whose_rows_agree() {
        let rows: Vec<Samples> = (0..40)
            .map(|at| row(if at % 2 == 0 { QUIET } else { OTHER }, 77.0))
            .collect();
        let margins = vec![0.95_f64.ln(); 40];
        assert!(
            Samples::below(&rows, &margins)
                .iter()
                .all(|claim| claim.holds)
        );
        // Bonferroni's level is below the least that they can reach: 1 / 252.
        assert_eq!(mann_whitney_rank(5, 5, LEVEL / 40.0), None);
        assert!(mann_whitney_rank(5, 5, LEVEL / 9.0).is_some());
    }

    #[test]
    fn nothing_is_claimed_of_equal_runs_but_that_they_are_within() {
        let rows = vec![row(QUIET, 100.0), row(OTHER, 100.0)];
        let claims = |margin: f64| Samples::below(&rows, &[margin.ln(), margin.ln()]);
        assert!(claims(0.95).iter().all(|claim| !claim.holds));
        assert!(claims(1.05).iter().all(|claim| claim.holds));
    }

    #[test]
    fn deals_of_a_row_alone_have_the_rank_of_published_tables() {
        let mut twice = Group::all(&[row(QUIET, 100.0), row(QUIET, 100.0)], &[0.0; 2]);
        assert_eq!(twice[0].rank(LEVEL), mann_whitney_rank(5, 5, LEVEL));
        twice[0].open.pop();
        assert_eq!(twice[0].rank(LEVEL), mann_whitney_rank(5, 5, LEVEL));
    }

    /// The first row without its last repetition of the base.
    fn short(percent: f64) -> Samples {
        let whole = row(QUIET, percent);
        let both = |logs: &[f64]| logs.iter().map(|log| log.exp()).collect::<Vec<f64>>();
        Samples::new(&both(&whole.base)[..4], &both(&whole.new)).unwrap()
    }

    #[test]
    fn one_lost_repetition_leaves_the_other_rows_their_deals() {
        let mut rows = vec![row(OTHER, 77.0); 40];
        rows[0] = short(77.0);
        let claims = Samples::below(&rows, &[0.95_f64.ln(); 40]);
        assert!(claims.iter().all(|claim| claim.holds), "{claims:?}");
        // Beside rows that say nothing it has the share of one.
        rows[1..].fill(row(OTHER, 100.0));
        let claims = Samples::below(&rows, &[0.95_f64.ln(); 40]);
        assert!(claims.iter().all(|claim| !claim.holds), "{claims:?}");
    }

    #[test]
    fn rows_of_other_numbers_of_repetitions_are_judged_by_holm() {
        let ranks = |rows: &[Samples]| -> Vec<bool> {
            let claims = Samples::below(rows, &vec![0.0; rows.len()]);
            claims.iter().map(|claim| claim.holds).collect()
        };
        assert_eq!(ranks(&[short(50.0), row(QUIET, 50.0)]), [true, true]);
        // Two of its pairs reach the margin: few enough at 5 %, and not at half of that.
        let close = Samples::new(&[1.0, 2.0, 3.0, 4.0], &[0.5, 0.6, 0.7, 2.5, 0.9]).unwrap();
        let rank = |level| mann_whitney_rank(4, 5, level);
        assert_eq!((rank(LEVEL), rank(LEVEL / 2.0)), (Some(3), Some(2)));
        assert_eq!(ranks(&[close.clone(), row(QUIET, 50.0)]), [true, true]);
        assert_eq!(ranks(&[close, row(QUIET, 100.0)]), [false, false]);
    }

    #[test]
    fn repetitions_that_resemble_each_other_claim_less() {
        let of = |at_least: f64| {
            let both = Resemblance {
                at_least,
                at_most: at_least,
            };
            row(QUIET, 90.0).resembling(both)
        };
        let (loose, tight) = (of(1.4), of(1.0));
        let (wide, narrow) = (loose.upper(0.25).unwrap(), tight.upper(0.25).unwrap());
        assert!(wide > narrow, "{wide} and {narrow}");
    }

    #[test]
    fn figures_that_have_no_ratio_have_no_logs() {
        assert_eq!(Samples::new(&[], &QUIET), None);
        assert_eq!(Samples::new(&[0.0, 1.0], &QUIET), None);
    }
}
