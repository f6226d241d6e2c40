//! Pairs that were measured together, looked at after every block: evidence that stays valid whenever one
//! stops.
//!
//! A block holds rounds whose order one fair coin decided: A B then B A, or B A then A B. Were the new build
//! exactly e^t times the base, the coin alone would say which of a block's figures, the new ones less t, are whose,
//! however the machine drifts and whatever luck processes have. Scores that know the figures and not whose they are
//! so make a [lead](Block::lead) of the block that only changes its sign with the coin: it is symmetric around 0
//! given all that went before, and nobody can win by betting on its sign. A bettor who holds 1 and stakes a share of it
//! on "below t" in each block, more where the lead is larger, is worth [`Pairs::wealth`] later on; with a probability
//! of at most a that ever reaches 1 / a if t is true, or if the ratio lies above t, where less is won (Ville 1939; de
//! la Peña 1999 for symmetric increments; Ramdas, Ruf, Larsson & Koolen, *Admissible anytime-valid sequential
//! inference must rely on nonnegative martingales*, 2020). Ratios that the evidence doesn't rule out so make an
//! interval that holds at all times together (Howard, Ramdas, McAuliffe & Sekhon, *Time-uniform, nonparametric,
//! nonasymptotic confidence sequences*, 2021).
//!
//! A score is a figure's distance from [the middle of those around it](Pairs::middle), and far ones are equally far
//! (as in M-estimates: Huber, *Robust Estimation of a Location Parameter*, 1964): a process that is a quarter faster
//! than others for all its life moves no block by more than one that is a little faster.
//!
//! The mean of several rows' wealth is a bettor's wealth, too, however rows resemble each other. So a claim
//! holds beside others if the mean over each set of rows with it reaches 1 / a (closed testing: Vovk &
//! Wang, *E-values: calibration, combination and applications*, 2021): rows that all say the same need
//! no more than one alone, and one against all others as much as Bonferroni asks for.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Claim, Evidence, LEVEL, PLANNED_POWER};
use crate::stats::{median, sorted};
use crate::variance::{logs, mean};

/// How steeply scores grow with distance, a bettor each, who begin with equal shares: for noise from about 10 % down
/// to 0.3 %.
const SLOPES: [f64; 4] = [5.0, 15.0, 50.0, 200.0];

/// The largest share of the wealth that is staked: what is lost in a block by an outlier can be won back.
const STAKE: f64 = 0.95;

/// Middles are of the figures of so many blocks, the last of them the one that is bet on: enough to tell outliers.
const BLOCKS_AROUND: usize = 8;

/// Beyond this distance of its logarithm every ratio is equally far for all bettors.
const FAR: f64 = 10.0;

/// The deviation of normal noise over its median absolute deviation.
const DEVIATION: f64 = 1.4826;

/// How many standard errors a claim's distance is when a sequence of agreeing rows decides, about: it serves
/// plans, not claims.
const REACH: f64 = 3.2;

/// Logarithms of what both sides had in the rounds of one block.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    base: Vec<f64>,
    new: Vec<f64>,
}

/// Figures of both sides by block, in the order in which they were measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    blocks: Vec<Block>,
    rounds_of_block: usize,
}

impl Pairs {
    /// What base and new had in each round, by blocks of so many rounds. `None` when there are none, or one isn't
    /// positive.
    pub fn new(blocks: &[Vec<[f64; 2]>], rounds_of_block: usize) -> Option<Self> {
        let of_block = |block: &Vec<[f64; 2]>| {
            let side = |side: usize| -> Vec<f64> { block.iter().map(|pair| pair[side]).collect() };
            Some(Block {
                base: logs(&side(0))?,
                new: logs(&side(1))?,
            })
        };
        let blocks: Vec<Block> = blocks.iter().map(of_block).collect::<Option<_>>()?;
        (!blocks.is_empty()).then_some(Self {
            blocks,
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
        let mut bettors = SLOPES.map(|slope| (slope, 1.0));
        for (at, block) in self.blocks.iter().enumerate() {
            let middle = self.middle(at, margin);
            for (slope, wealth) in &mut bettors {
                *wealth *= 1.0 + STAKE * block.lead(margin, middle, *slope).tanh();
            }
        }
        mean(&bettors.map(|(_, wealth)| wealth))
    }

    /// Around what the figures of a block, the new ones less `margin`, are scored: the median of the last blocks',
    /// but between the two in the middle of the block's own, so that it follows a machine that drifts.
    fn middle(&self, at: usize, margin: f64) -> f64 {
        let first = (at + 1).saturating_sub(BLOCKS_AROUND);
        let around = self.blocks[first..=at].iter();
        let around: Vec<f64> = around.flat_map(|block| block.aligned(margin)).collect();
        let own = sorted(&self.blocks[at].aligned(margin).collect::<Vec<f64>>());
        let half = own.len() / 2;
        let middle = median(&around).unwrap_or_default();
        middle.clamp(own[half - 1], own[half])
    }
}

impl Block {
    /// With base and new side exchanged.
    fn mirrored(&self) -> Self {
        Self {
            base: self.new.clone(),
            new: self.base.clone(),
        }
    }

    /// All figures, the new ones less `margin`.
    fn aligned(&self, margin: f64) -> impl Iterator<Item = f64> {
        let new = self.new.iter().map(move |new| new - margin);
        self.base.iter().copied().chain(new)
    }

    /// The log ratios of its rounds.
    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.new
            .iter()
            .zip(&self.base)
            .map(|(new, base)| new - base)
    }

    /// How far the base's scores are above those of the new side less `margin`, between -2 and 2.
    fn lead(&self, margin: f64, middle: f64, slope: f64) -> f64 {
        let score = |figure: f64| (slope * (figure - middle)).tanh();
        let scores = self.base.iter().zip(&self.new);
        let leads = scores.map(|(base, new)| score(*base) - score(new - margin));
        leads.sum::<f64>() / self.base.len() as f64
    }
}

impl Evidence for Pairs {
    fn mirrored(&self) -> Self {
        Self {
            blocks: self.blocks.iter().map(Block::mirrored).collect(),
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
        let all = |side: fn(&Block) -> &[f64]| self.blocks.iter().flat_map(side).copied();
        let (base, new) = (all(|block| &block.base), all(|block| &block.new));
        let (least, most) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut low = new.clone().fold(least, f64::min) - base.clone().fold(most, f64::max) - FAR;
        let mut high = new.fold(most, f64::max) - base.fold(least, f64::min) + FAR;
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
        let n = self.blocks.len() as f64;
        let ratios: Vec<f64> = self.blocks.iter().flat_map(Block::ratios).collect();
        let middle = median(&ratios).unwrap_or_default();
        let distances: Vec<f64> = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
        let of_rounds = DEVIATION * median(&distances).unwrap_or_default();
        let deviation = of_rounds / (self.rounds_of_block as f64).sqrt();
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
        let of = |log: &f64| Block {
            base: vec![0.0],
            new: vec![*log],
        };
        Pairs {
            blocks: logs.iter().map(of).collect(),
            rounds_of_block: 2,
        }
    }

    #[test]
    fn a_bet_on_a_fair_coin_wins_nothing_on_average() {
        // Whatever ten blocks' figures are, over all that their coins may say the mean wealth is what it began with.
        let turns = |at: usize| {
            let at = at as f64;
            [0.01 * at, 0.2 * (7.0 * at).sin(), 0.03, 5.0 - at]
        };
        let all = (0..1 << 10).map(|coins: u32| {
            let blocks = (0..10).map(|at| {
                let [first, second, third, fourth] = turns(at);
                let block = Block {
                    base: vec![first, fourth],
                    new: vec![second, third],
                };
                match coins >> at & 1 {
                    1 => block.mirrored(),
                    _ => block,
                }
            });
            let pairs = Pairs {
                blocks: blocks.collect(),
                rounds_of_block: 2,
            };
            pairs.wealth(0.0)
        });
        let mean = all.sum::<f64>() / 1024.0;
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn wealth_grows_with_the_margin() {
        let logs = [
            -0.1, 0.02, 0.3, -0.1, 0.08, 0.1, -2.0, -0.08, 0.0, 0.0, -0.1, 0.01,
        ];
        let row = pairs(&logs);
        let margins = || (-600..600).map(|step| f64::from(step) / 200.0);
        let worth: Vec<f64> = margins().map(|margin| row.wealth(margin)).collect();
        assert!(worth.is_sorted(), "{worth:?}");
        assert!(row.wealth(f64::NEG_INFINITY) < 1e-9);
        assert!(row.wealth(f64::INFINITY) > 20.0);
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
