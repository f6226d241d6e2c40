//! Pairs that were measured together, looked at after every block: evidence that stays valid whenever one
//! stops.
//!
//! A block holds rounds whose order one fair coin decided: A B then B A, or B A then A B. Were the new build
//! exactly e^t times the base, the block's mean log ratio less t would only change its sign with the coin, however
//! the machine drifts and whatever luck processes have: it is symmetric around 0 given all that went before. So
//! nobody can win by betting on its sign. A bettor who holds 1 and stakes a share of it on "below t" in each block,
//! more where the ratio is further away, is worth [`wealth`] later on; with a probability of at most a that ever
//! reaches 1 / a if t is true, or if the ratio lies above t (Ville 1939; de la Peña 1999 for symmetric
//! increments; Ramdas, Ruf, Larsson & Koolen, *Admissible anytime-valid sequential inference must rely on
//! nonnegative martingales*, 2020). Ratios that the evidence doesn't rule out so make an interval that holds at all
//! times together (Howard, Ramdas, McAuliffe & Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence
//! sequences*, 2021).
//!
//! The mean of several rows' wealth is a bettor's wealth, too, however rows resemble each other. So a claim
//! holds beside others if the mean over each set of rows with it reaches 1 / a (closed testing: Vovk &
//! Wang, *E-values: calibration, combination and applications*, 2021): rows that all say the same need
//! no more than one alone, and one against all others as much as Bonferroni asks for.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Claim, Evidence, LEVEL, PLANNED_POWER};
use crate::variance::{logs, mean};

/// How a bettor stakes.
struct Bettor {
    /// How steeply the stake grows with the distance of a block's log ratio.
    slope: f64,
    /// The largest share of the wealth that is staked: what is lost in a block by an outlier can be won back.
    stake: f64,
}

/// The stake of those who win nearly always.
const STAKE: f64 = 0.95;

/// Bettors who begin with equal shares: for noise of 10 % down to that of 0.3 %, and two for noise of 3 and 1 % that
/// now and then is far larger, as where some processes have luck for all their life.
const BETTORS: [Bettor; 6] = [
    bettor(3.0, STAKE),
    bettor(10.0, STAKE),
    bettor(30.0, STAKE),
    bettor(300.0, STAKE),
    bettor(30.0, 0.5),
    bettor(100.0, 0.5),
];

const fn bettor(slope: f64, stake: f64) -> Bettor {
    Bettor { slope, stake }
}

/// Beyond this distance of its logarithm every ratio is equally far for all bettors.
const FAR: f64 = 10.0;

/// How many standard errors a claim's distance is when a sequence of agreeing rows decides, about: it serves
/// plans, not claims.
const REACH: f64 = 3.2;

/// Log ratios of blocks, new over base, in the order in which they were measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    blocks: Vec<f64>,
    rounds_of_block: usize,
}

impl Pairs {
    /// The ratios of blocks of so many rounds: each the mean of the logarithms of its rounds' ratios. `None` when
    /// there are none, or one isn't positive.
    pub fn new(blocks: &[Vec<f64>], rounds_of_block: usize) -> Option<Self> {
        let of_block = |block: &Vec<f64>| logs(block).map(|logs| mean(&logs));
        let blocks: Vec<f64> = blocks.iter().map(of_block).collect::<Option<_>>()?;
        (!blocks.is_empty()).then_some(Self {
            blocks,
            rounds_of_block,
        })
    }

    /// The fewest rounds that can tell anything, in blocks of so many.
    pub fn fewest_rounds(rounds_of_block: usize) -> usize {
        fewest_blocks(1.0 / LEVEL) * rounds_of_block
    }

    /// What is left of 1 that was bet on ratios below `margin`.
    fn wealth(&self, margin: f64) -> f64 {
        let of = |Bettor { slope, stake }: &Bettor| -> f64 {
            let factors = self.blocks.iter();
            factors
                .map(|block| 1.0 + stake * (slope * (margin - block)).tanh())
                .product()
        };
        BETTORS.iter().map(of).sum::<f64>() / BETTORS.len() as f64
    }
}

impl Evidence for Pairs {
    fn mirrored(&self) -> Self {
        Self {
            blocks: self.blocks.iter().map(|log| -log).collect(),
            ..*self
        }
    }

    fn below(rows: &[Self], margins: &[f64]) -> Vec<Claim> {
        let wealth: Vec<f64> = rows
            .iter()
            .zip(margins)
            .map(|(row, &margin)| row.wealth(margin))
            .collect();
        needed(&wealth)
            .into_iter()
            .zip(&wealth)
            .map(|(strength, wealth)| Claim {
                holds: *wealth >= strength,
                strength,
            })
            .collect()
    }

    fn upper(&self, strength: f64) -> Option<f64> {
        let ends = self.blocks.iter().copied();
        let mut low = ends.clone().fold(f64::INFINITY, f64::min) - FAR;
        let mut high = ends.fold(f64::NEG_INFINITY, f64::max) + FAR;
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
        let (n, mean) = (self.blocks.len() as f64, mean(&self.blocks));
        let squares = self
            .blocks
            .iter()
            .map(|log| (log - mean).powi(2))
            .sum::<f64>();
        let deviation = (squares / (n - 1.0).max(1.0)).sqrt();
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
    let won = |blocks: i32| -> f64 {
        let all = BETTORS
            .iter()
            .map(|bettor| (1.0 + bettor.stake).powi(blocks));
        all.sum::<f64>() / BETTORS.len() as f64
    };
    let blocks = (1..).find(|&blocks| won(blocks) >= wealth);
    blocks.expect("wealth grows without end") as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(logs: &[f64]) -> Pairs {
        Pairs {
            blocks: logs.to_vec(),
            rounds_of_block: 2,
        }
    }

    #[test]
    fn a_bet_on_a_fair_coin_wins_nothing_on_average() {
        // All signs of five blocks: the mean wealth is what it began with.
        let sizes = [0.01, 0.2, 0.03, 5.0, 0.07];
        let all = (0..32_u32).map(|signs| {
            let signed = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| match signs >> at & 1 {
                    1 => *size,
                    _ => -size,
                });
            pairs(&signed.collect::<Vec<f64>>()).wealth(0.0)
        });
        let mean = all.sum::<f64>() / 32.0;
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
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
    fn one_wild_block_is_made_up_for() {
        let mut logs = vec![-0.1; 16];
        logs[3] = 2.0;
        assert!(pairs(&logs).upper(20.0).unwrap() < -0.05);
    }
}
