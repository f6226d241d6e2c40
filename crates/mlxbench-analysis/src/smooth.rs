//! Where times along a sweep of lengths jump, beside what length and work explain.
//!
//! A time that grows with a length is a sum of terms, none of them negative: a constant, one in the
//! length, one in each kind of work. Decode that slows down with its context is such a sum, and so is
//! prefill whose rate rises and saturates, or with a bend, where the host is the limit up to some length
//! and the device beyond. A jump is what the best such sum misses and what a step (all times from a
//! length on are so many times as long) or a spike (one is) explains.

use std::f64::consts::PI;

use serde::Serialize;

use crate::change_points::{Pettitt, SIGNIFICANCE};
use crate::stats::median;
use crate::variance::OVER_MEDIAN_ABSOLUTE;

/// The fewest lengths that are looked at: through three there is nearly always a smooth curve.
pub const FEWEST_LENGTHS: usize = 4;

/// The smallest jump that is worth a mark: a quarter more time, or a fifth less. A smooth curve may miss
/// half of it: real kernels aren't quite sums of the terms.
pub const SMALLEST_JUMP: f64 = 1.25;

/// How many standard errors of a median the smallest jump is at least: in noise of 5 % that is less than
/// [`SMALLEST_JUMP`], of five repetitions in noise of 20 % a ratio of 2.
const STANDARD_ERRORS: f64 = 6.0;

/// The most jumps that are looked for along one sweep.
const MOST_JUMPS: usize = 3;

/// The largest step that is tried, as a ratio.
const LARGEST_STEP: f64 = 64.0;

/// How a time departs from the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// From one length on all times are so many times as long.
    Step,
    /// One length alone, neither the first nor the last.
    Spike,
}

/// A departure from a smooth curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departure {
    /// The first length of the new level, or that of the spike.
    pub at: usize,
    /// Whether it stays.
    pub shape: Shape,
    /// How many times as long it takes as without: 2 is half as fast, 0.5 twice.
    pub times: f64,
    /// [`Pettitt::p_value`] of the samples of the two lengths around a step, less what the curve
    /// explains; of a spike the larger one of both sides.
    pub p_value: f64,
}

/// What explains times at several lengths: a value for each length, none of them negative.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explained {
    /// The terms of the sum, in the order of the lengths each.
    pub terms: Vec<Vec<f64>>,
    /// What a time may be bound by from some length on and not before, in the order of the lengths
    /// each: a sum may have one term more, of the larger one of these and a constant.
    pub bounds: Vec<Vec<f64>>,
}

/// The jumps of `samples`, positive times of each length, in the order of the lengths.
///
/// The sum is the one of least squared relative errors to the medians. Where it comes within half of
/// [`SMALLEST_JUMP`] of all of them there is no jump. Otherwise the step or the spike that leaves the
/// least error is one, if it is of [`SMALLEST_JUMP`] and Pettitt's test of the samples on both sides
/// says [`SIGNIFICANCE`]; with it taken out, the next one is looked for. Where the samples are spread so
/// far that the median is uncertain, the smallest jump is larger: six of its standard errors.
///
/// - Five samples a length are the fewest that can be significant, and then only without an overlap.
/// - A jump at an end is a step: there is nothing after it. Where times may be bound by work, a step at
///   an end may be taken for the bend where that begins.
/// - Lengths that double tell most. Where they are four times as long each, a step of 2 is mistaken
///   for a bend, or one for the other, in every third or fourth sweep.
///
/// `tests/analysis/sweeps.rs` measures how often it is wrong.
pub fn departures(samples: &[Vec<f64>], explained: &Explained) -> Vec<Departure> {
    let medians = samples.iter().filter_map(|samples| median(samples));
    let mut medians: Vec<f64> = medians.collect();
    let smallest = SMALLEST_JUMP
        .ln()
        .max(STANDARD_ERRORS * standard_error(samples));
    let mut samples = samples.to_vec();
    let mut found = Vec::new();
    if medians.len() < samples.len().max(FEWEST_LENGTHS) {
        return found;
    }
    while found.len() < MOST_JUMPS {
        let Some(departure) =
            best(&medians, explained, smallest).and_then(|best| best.tested(&samples))
        else {
            break;
        };
        for at in departure.lengths(medians.len()) {
            medians[at] /= departure.times;
            samples[at]
                .iter_mut()
                .for_each(|time| *time /= departure.times);
        }
        found.push(departure);
    }
    found.sort_by_key(|departure| departure.at);
    found
}

impl Departure {
    /// Which lengths take longer by it.
    fn lengths(&self, count: usize) -> std::ops::Range<usize> {
        match self.shape {
            Shape::Step => self.at..count,
            Shape::Spike => self.at..self.at + 1,
        }
    }
}

/// A departure before it is tested, and the curve without it.
struct Candidate {
    at: usize,
    shape: Shape,
    times: f64,
    curve: Vec<f64>,
    error: f64,
}

impl Candidate {
    /// Asks Pettitt's test whether the samples on both sides differ by more than the curve does.
    fn tested(self, samples: &[Vec<f64>]) -> Option<Departure> {
        let p_value = |left: usize| {
            let flat = [left, left + 1].map(|at| {
                let expected = self.curve[at];
                samples[at].iter().map(move |time| time / expected)
            });
            let flat: Vec<f64> = flat.into_iter().flatten().collect();
            Pettitt::of(&flat).map_or(1.0, |test| test.p_value)
        };
        let before = p_value(self.at - 1);
        let p_value = match self.shape {
            Shape::Step => before,
            Shape::Spike => before.max(p_value(self.at)),
        };
        (p_value <= SIGNIFICANCE).then_some(Departure {
            at: self.at,
            shape: self.shape,
            times: self.times,
            p_value,
        })
    }
}

/// The standard error of a median's logarithm, by the median over all lengths of the samples' absolute
/// deviation; normal noise is taken for granted, in a median's efficiency as well.
fn standard_error(samples: &[Vec<f64>]) -> f64 {
    let median = |values: Vec<f64>| median(&values).unwrap_or_default();
    let of_length = |samples: &Vec<f64>| {
        let centre = median(samples.clone());
        let deviations = samples.iter().map(|time| (time / centre).ln().abs());
        let deviation = OVER_MEDIAN_ABSOLUTE * median(deviations.collect());
        deviation * (PI / 2.0 / samples.len() as f64).sqrt()
    };
    median(samples.iter().map(of_length).collect())
}

/// The step or spike (its logarithm `smallest` at least) that explains the times best; `None` where a smooth curve does, or none does.
fn best(times: &[f64], explained: &Explained, smallest: f64) -> Option<Candidate> {
    let terms = &explained.terms;
    let is_smooth = |terms: &[Vec<f64>]| {
        let curve = Curve::fitted(times, terms, &vec![true; times.len()])?;
        let missed = times.iter().zip(&curve.values);
        let missed = missed.map(|(time, expected)| (time / expected).ln().abs());
        Some(missed.fold(0.0, f64::max) < smallest / 2.0)
    };
    let bent = explained.bounds.iter().flat_map(|bound| bends(bound));
    let mut bent = bent.map(|bend| [terms.as_slice(), &[bend]].concat());
    if is_smooth(terms)? || bent.any(|terms| is_smooth(&terms) == Some(true)) {
        return None;
    }
    let last = times.len() - 1;
    let steps = (1..=last).filter_map(|at| step(times, terms, at));
    let spikes = (1..last).filter_map(|at| spike(times, terms, at));
    steps
        .chain(spikes)
        .filter(|candidate| candidate.times.ln().abs() >= smallest)
        .min_by(|a, b| a.error.total_cmp(&b.error))
}

/// The larger one of `work` and a constant, which is the work of each length but the ends or lies half
/// way between two.
fn bends(work: &[f64]) -> Vec<Vec<f64>> {
    let between = work.windows(2).map(|pair| (pair[0] * pair[1]).sqrt());
    let constants = between.chain(work.iter().copied().take(work.len() - 1).skip(1));
    let bend = |constant: f64| work.iter().map(|own| own.max(constant)).collect();
    constants.map(bend).collect()
}

/// The best step at a length: its size is looked for on a grid that grows finer.
fn step(times: &[f64], terms: &[Vec<f64>], at: usize) -> Option<Candidate> {
    const ROUNDS: usize = 3;
    const SIZES: i32 = 16;
    let all = vec![true; times.len()];
    let with = |size: f64| {
        let lowered = times.iter().enumerate();
        let lowered = lowered.map(|(own, time)| if own < at { *time } else { time / size.exp() });
        let curve = Curve::fitted(&lowered.collect::<Vec<f64>>(), terms, &all)?;
        Some((size, curve))
    };
    let mut reach = LARGEST_STEP.ln();
    let mut best: Option<(f64, Curve)> = None;
    for _ in 0..ROUNDS {
        let centre = best.as_ref().map_or(0.0, |(size, _)| *size);
        let sizes = (-SIZES..=SIZES).map(|at| centre + reach * f64::from(at) / f64::from(SIZES));
        best = sizes
            .filter_map(with)
            .min_by(|(_, a), (_, b)| a.error.total_cmp(&b.error));
        reach /= f64::from(SIZES);
    }
    best.map(|(size, curve)| Candidate {
        at,
        shape: Shape::Step,
        times: size.exp(),
        curve: curve.values,
        error: curve.error,
    })
}

/// The spike at a length: how far it is from the curve through all others.
fn spike(times: &[f64], terms: &[Vec<f64>], at: usize) -> Option<Candidate> {
    let others: Vec<bool> = (0..times.len()).map(|own| own != at).collect();
    let curve = Curve::fitted(times, terms, &others)?;
    Some(Candidate {
        at,
        shape: Shape::Spike,
        times: times[at] / curve.values[at],
        curve: curve.values,
        error: curve.error,
    })
}

/// A sum of terms.
struct Curve {
    /// Its value at each length.
    values: Vec<f64>,
    /// The sum of squared relative errors.
    error: f64,
}

impl Curve {
    /// The sum of non-negative multiples of `terms` with the least squared relative errors to those of
    /// `times` that `count`. Of so few terms every subset is tried: the best one whose own least squares
    /// have no negative factor is the solution (Lawson & Hanson, *Solving Least Squares Problems*, 1974,
    /// chapter 23).
    fn fitted(times: &[f64], terms: &[Vec<f64>], count: &[bool]) -> Option<Self> {
        let subsets = 1..1_usize << terms.len();
        let curves = subsets.filter_map(|subset| {
            let chosen = terms.iter().enumerate();
            let chosen = chosen.filter(|(term, _)| subset >> term & 1 == 1);
            let chosen: Vec<&[f64]> = chosen.map(|(_, values)| values.as_slice()).collect();
            let factors = least_squares(times, &chosen, count)?;
            let sum = |at: usize| {
                let parts = chosen.iter().zip(&factors);
                parts.map(|(term, factor)| term[at] * factor).sum::<f64>()
            };
            let values: Vec<f64> = (0..times.len()).map(sum).collect();
            let error = |at: usize| match count[at] {
                true => (1.0 - values[at] / times[at]).powi(2),
                false => 0.0,
            };
            let error = (0..times.len()).map(error).sum();
            let sound = factors.iter().all(|factor| *factor >= 0.0)
                && values.iter().all(|value| *value > 0.0);
            sound.then_some(Self { values, error })
        });
        curves.min_by(|a, b| a.error.total_cmp(&b.error))
    }
}

/// The factors of `terms` with the least squared relative errors, by the normal equations; `None`
/// where the terms don't differ enough to tell them apart.
fn least_squares(times: &[f64], terms: &[&[f64]], count: &[bool]) -> Option<Vec<f64>> {
    let size = terms.len();
    let counted = |at: &usize| count[*at];
    let product = |a: &[f64], b: &[f64]| {
        let lengths = (0..times.len()).filter(counted);
        lengths
            .map(|at| a[at] * b[at] / times[at].powi(2))
            .sum::<f64>()
    };
    // Scaled to a diagonal of ones, so that units don't matter.
    let scales: Vec<f64> = terms
        .iter()
        .map(|term| product(term, term).sqrt())
        .collect();
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
    for (term, scale) in terms.iter().zip(&scales) {
        let others = terms.iter().zip(&scales);
        let mut row: Vec<f64> = others
            .map(|(other, other_scale)| product(term, other) / (scale * other_scale))
            .collect();
        row.push(product(term, times) / scale);
        rows.push(row);
    }
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, pivot);
        let own = rows[column].clone();
        if own[column].is_nan() || own[column].abs() <= 1e-9 {
            return None;
        }
        let others = rows.iter_mut().enumerate();
        for (_, row) in others.filter(|(at, _)| *at != column) {
            let factor = row[column] / own[column];
            row.iter_mut()
                .zip(&own)
                .for_each(|(cell, own)| *cell -= factor * own);
        }
    }
    let factors = rows.iter().zip(&scales).enumerate();
    Some(
        factors
            .map(|(at, (row, scale))| row[size] / row[at] / scale)
            .collect(),
    )
}
