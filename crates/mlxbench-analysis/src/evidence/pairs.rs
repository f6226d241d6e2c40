//! Pairs that were measured together, looked at after every block: evidence that stays valid whenever one
//! stops.
//!
//! A block holds rounds whose order one fair coin decided: A B then B A, or B A then A B. Were the new build
//! exactly e^t times the base, the coin alone would say which of a block's figures, the new ones less t, are whose,
//! however the machine drifts and whatever luck processes have. Scores that know the figures and not whose they are
//! so make a [`lead`] of the block that only changes its sign with the coin: it is symmetric around 0 given all that
//! went before, and nobody can win by betting on its sign. A bettor who holds 1 and stakes a share of it on "below
//! t" in each block, more where the lead is larger, is worth [`Pairs::wealth`] later on; with a probability of at
//! most a that ever reaches 1 / a if t is true, or any larger factor that all rounds share, where less is won (Ville
//! 1939; de la Peña 1999 for symmetric increments; Ramdas, Ruf, Larsson & Koolen, *Admissible anytime-valid
//! sequential inference must rely on nonnegative martingales*, 2020). Ratios that the evidence doesn't rule out so
//! make an interval that holds at all times together (Howard, Ramdas, McAuliffe & Sekhon, *Time-uniform,
//! nonparametric, nonasymptotic confidence sequences*, 2021).
//!
//! A score is a figure's distance from the [`middle`] of those around it, and far ones are about equally far (as in
//! M-estimates: Huber, *Robust Estimation of a Location Parameter*, 1964): a process that is a quarter faster than
//! others moves a block hardly more than one that is a little faster. So a change that only some processes have
//! counts by how many have it.
//!
//! The mean of several rows' wealth is a bettor's wealth, too, however rows resemble each other. So a claim
//! holds beside others if the mean over each set of rows with it reaches 1 / a (closed testing: Vovk &
//! Wang, *E-values: calibration, combination and applications*, 2021): rows that all say the same need
//! no more than one alone, and one against all others as much as Bonferroni asks for.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Claim, Evidence, LEVEL, PLANNED_POWER};
use crate::stats::{median, sorted};
use crate::variance::{OVER_MEDIAN_ABSOLUTE, mean};

/// How steeply scores grow with distance, a bettor each, who begin with equal shares: for noise from about 10 % down
/// to 0.3 %.
const SLOPES: [f64; 4] = [5.0, 15.0, 50.0, 200.0];

/// No larger share of the wealth is staked: what is lost in a block can be won back.
const STAKE: f64 = 0.95;

/// Middles are of the figures of so many blocks, the last of them the one that is bet on: enough to tell which are
/// far off.
const BLOCKS_AROUND: usize = 8;

/// Beyond this distance of its logarithm every ratio is equally far for all bettors: half of it, a figure's distance
/// from the middle, has the most of scores at every slope.
const FAR: f64 = 10.0;

/// How many standard errors a claim's distance is when a sequence of agreeing rows decides, about: it serves
/// plans, not claims.
const REACH: f64 = 3.2;

/// Figures of both sides, block by block, in the order in which they were measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// The logarithms of what base and new had in each round.
    rounds: Vec<[f64; 2]>,
    rounds_of_block: usize,
}

impl Pairs {
    /// What base and new had in each round, in blocks of so many: the last rounds count for nothing where they are no
    /// whole block. `None` when there is none, or a figure isn't positive.
    pub fn new(rounds: &[[f64; 2]], rounds_of_block: usize) -> Option<Self> {
        let whole = rounds.len() / rounds_of_block * rounds_of_block;
        let logs = |figures: &[f64; 2]| {
            let logs = figures.map(f64::ln);
            logs.iter().all(|log| log.is_finite()).then_some(logs)
        };
        let rounds: Vec<[f64; 2]> = rounds[..whole].iter().map(logs).collect::<Option<_>>()?;
        (!rounds.is_empty()).then_some(Self {
            rounds,
            rounds_of_block,
        })
    }

    /// The fewest rounds that can tell anything, in blocks of so many.
    pub fn fewest_rounds(rounds_of_block: usize) -> usize {
        fewest_blocks(1.0 / LEVEL) * rounds_of_block
    }

    /// What is left of 1 that was bet on ratios below `margin`. It grows with the margin.
    fn wealth(&self, margin: f64) -> f64 {
        // Beyond all figures, and finite.
        let margin = margin.clamp(-1e9, 1e9);
        let aligned = self.rounds.iter().map(|[base, new]| [*base, new - margin]);
        let aligned: Vec<[f64; 2]> = aligned.collect();
        let mut bettors = [1.0; SLOPES.len()];
        for end in (self.rounds_of_block..=aligned.len()).step_by(self.rounds_of_block) {
            let first_around = end.saturating_sub(BLOCKS_AROUND * self.rounds_of_block);
            let block = &aligned[end - self.rounds_of_block..end];
            let middle = middle(block, &aligned[first_around..end]);
            for (wealth, slope) in bettors.iter_mut().zip(SLOPES) {
                *wealth *= 1.0 + STAKE * tanh(lead(block, middle, slope));
            }
        }
        mean(&bettors)
    }

    /// The mean log ratio of each block.
    fn ratios(&self) -> Vec<f64> {
        let blocks = self.rounds.chunks(self.rounds_of_block);
        let of_block = |block: &[[f64; 2]]| {
            let ratios = block.iter().map(|[base, new]| new - base);
            ratios.sum::<f64>() / block.len() as f64
        };
        blocks.map(of_block).collect()
    }
}

/// Around what the figures of a block are scored: the median of it and the blocks before it, but between the two
/// in the middle of its own, so that it follows a machine that drifts.
fn middle(block: &[[f64; 2]], around: &[[f64; 2]]) -> f64 {
    let own = sorted(block.as_flattened());
    let half = own.len() / 2;
    let around = median(around.as_flattened()).unwrap_or_default();
    around.clamp(own[half - 1], own[half])
}

/// How far the base's scores in a block are above those of the new side, between -2 and 2. It grows with the margin:
/// when all new figures fall by as much, the middle falls by that at most.
fn lead(block: &[[f64; 2]], middle: f64, slope: f64) -> f64 {
    let score = |figure: f64| tanh(slope * (figure - middle));
    let leads = block.iter().map(|[base, new]| score(*base) - score(*new));
    leads.sum::<f64>() / block.len() as f64
}

/// The hyperbolic tangent to some 1e-16, by one exponential: the library's is exact near 0, and doubles the time of
/// simulated gates.
fn tanh(x: f64) -> f64 {
    1.0 - 2.0 / ((2.0 * x).exp() + 1.0)
}

impl Evidence for Pairs {
    fn mirrored(&self) -> Self {
        let mirrored = self.rounds.iter().map(|[base, new]| [*new, *base]);
        Self {
            rounds: mirrored.collect(),
            ..*self
        }
    }

    fn below(rows: &[Self], margins: &[f64]) -> Vec<Claim> {
        let enough = |row: &Self| {
            let blocks = row.rounds.len() / row.rounds_of_block;
            blocks >= fewest_blocks(row.alone())
        };
        let wealth: Vec<f64> = rows
            .iter()
            .zip(margins)
            .map(|(row, &margin)| row.wealth(margin))
            .collect();
        needed(&wealth)
            .into_iter()
            .zip(&wealth)
            .zip(rows)
            .map(|((strength, wealth), row)| Claim {
                holds: *wealth >= strength,
                // What so few blocks never win.
                strength: if enough(row) { strength } else { f64::INFINITY },
            })
            .collect()
    }

    fn upper(&self, strength: f64) -> Option<f64> {
        let (base, new): (Vec<f64>, Vec<f64>) = self.rounds.iter().map(|&[b, n]| (b, n)).unzip();
        let (base, new) = (sorted(&base), sorted(&new));
        let mut low = new.first()? - base.last()? - FAR;
        let mut high = new.last()? - base.first()? + FAR;
        if self.wealth(high) < strength {
            return None;
        }
        // Wealth grows with the margin. Ends at neighbouring numbers.
        loop {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                return Some(high);
            }
            match self.wealth(middle) >= strength {
                true => high = middle,
                false => low = middle,
            }
        }
    }

    fn alone(&self) -> f64 {
        1.0 / LEVEL
    }

    fn planned(&self, distance: f64) -> f64 {
        let ratios = self.ratios();
        let n = ratios.len() as f64;
        let middle = median(&ratios).unwrap_or_default();
        let distances: Vec<f64> = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
        let deviation = OVER_MEDIAN_ABSOLUTE * median(&distances).unwrap_or_default();
        let reach = REACH + Normal::standard().inverse_cdf(PLANNED_POWER);
        let least = fewest_blocks(1.0 / LEVEL) as f64;
        let blocks = (reach * deviation / distance)
            .powi(2)
            .max(least)
            .max(n + 1.0);
        blocks.ceil() * self.rounds_of_block as f64
    }
}

/// The wealth that each row has to reach, beside what the others have: the most that any set of rows asks for,
/// which is one of it and the poorest.
fn needed(wealth: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wealth.len()).collect();
    order.sort_unstable_by(|&a, &b| wealth[a].total_cmp(&wealth[b]));
    let of_row = |row: usize| {
        let others = order.iter().filter(|&&other| other != row);
        let lacking = others.map(|&other| 1.0 / LEVEL - wealth[other]);
        1.0 / LEVEL + lacking.take_while(|lacking| *lacking > 0.0).sum::<f64>()
    };
    (0..wealth.len()).map(of_row).collect()
}

/// The fewest blocks after which a wealth can have been reached, by bettors who all won as much as can be.
fn fewest_blocks(wealth: f64) -> usize {
    let most = 1.0 + STAKE * 2.0_f64.tanh();
    (wealth.ln() / most.ln()).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of one round, whose base always had 1.
    fn pairs(logs: &[f64]) -> Pairs {
        Pairs {
            rounds: logs.iter().map(|log| [0.0, *log]).collect(),
            rounds_of_block: 1,
        }
    }

    /// Ten blocks of a machine that drifts and has outliers, and whose coin's bits are `coins`.
    fn drifting(coins: u32) -> Pairs {
        let rounds = (0..10).flat_map(|at| {
            let [first, second, third, fourth] = {
                let at = f64::from(at);
                [0.01 * at, 0.2 * (7.0 * at).sin(), 0.03, 5.0 - at]
            };
            match coins >> at & 1 {
                1 => [[first, second], [fourth, third]],
                _ => [[second, first], [third, fourth]],
            }
        });
        Pairs {
            rounds: rounds.collect(),
            rounds_of_block: 2,
        }
    }

    #[test]
    fn a_bet_on_a_fair_coin_wins_nothing_on_average() {
        // Whatever the figures are: over all that coins may say the mean wealth is what it began with.
        for factor in [0.0, 0.07] {
            let worth = |coins| {
                let mut pairs = drifting(coins);
                for [_, new] in &mut pairs.rounds {
                    *new += factor;
                }
                pairs.wealth(factor)
            };
            let mean = (0..1 << 10).map(worth).sum::<f64>() / 1024.0;
            assert!((mean - 1.0).abs() < 1e-12, "{mean}");
        }
    }

    #[test]
    fn wealth_grows_with_the_margin() {
        for coins in [0, 0b11_0101_1010, 0b10_1010_0110] {
            let row = drifting(coins);
            let margins = (-1200..1200).map(|step| f64::from(step) / 200.0);
            let worth: Vec<f64> = margins.map(|margin| row.wealth(margin)).collect();
            let grows = |pair: &[f64]| pair[1] >= pair[0] * (1.0 - 1e-12);
            assert!(worth.windows(2).all(grows), "{worth:?}");
            assert!(row.wealth(f64::NEG_INFINITY) < 1e-9);
            assert!(row.wealth(f64::INFINITY) > 20.0);
        }
    }

    #[test]
    fn who_bets_against_a_margin_loses_what_the_other_wins() {
        let row = Pairs {
            rounds: vec![[0.0, 0.1], [0.3, -0.2]],
            rounds_of_block: 2,
        };
        let (below, above) = (row.wealth(0.05), row.mirrored().wealth(-0.05));
        assert!((below + above - 2.0).abs() < 1e-12, "{below} {above}");
    }

    #[test]
    fn the_end_of_an_interval_is_where_the_evidence_is_just_strong_enough() {
        let row = pairs(&[-0.1, -0.12, -0.09, -0.11, -0.1, -0.1, -0.13, -0.08]);
        let upper = row.upper(20.0).unwrap();
        assert!((-0.1..-0.05).contains(&upper), "{upper}");
        assert!(row.wealth(upper) >= 20.0 && row.wealth(upper - 1e-9) < 20.0);
        assert_eq!(pairs(&[-0.1; 3]).upper(20.0), None);
        assert!(row.mirrored().upper(20.0).unwrap() > 0.1);
    }

    #[test]
    fn rows_that_agree_need_no_more_than_one_alone() {
        let close = |a: Vec<f64>, b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close(needed(&[30.0, 25.0, 20.0]), [20.0, 20.0, 20.0]));
        // Beside two that have nothing it takes as much as three times.
        assert!(close(needed(&[100.0, 0.0, 0.0]), [60.0, 40.0, 40.0]));
        assert!(close(needed(&[100.0, 15.0, 30.0]), [25.0, 20.0, 25.0]));
    }

    #[test]
    fn one_wild_figure_weighs_no_more_than_another() {
        let mut logs = vec![-0.1; 16];
        logs[3] = 2.0;
        let wild = pairs(&logs).upper(20.0).unwrap();
        logs[3] = 0.2;
        let mild = pairs(&logs).upper(20.0).unwrap();
        assert!(wild < -0.05 && wild - mild < 1e-3, "{wild} {mild}");
    }
}
