//! Where inter-token latency jumps along a generation: each token is a step with one more key, so a long
//! generation is a sweep of the context.

use mlxbench_core::results::{RunResult, TargetId, Test};
use serde::Serialize;

use crate::change_points::{FEWEST_FOR_CHANGE_POINT, change_points, split_of_least_distance};
use crate::metrics;
use crate::smooth::SMALLEST_JUMP;
use crate::stats::median;

/// The most blocks of positions: a level of 5 of them, which is the shortest, is then a 25th of a
/// generation.
const MOST_BLOCKS: usize = 128;

/// Blocks on either side of a step over which it has to be complete: what takes longer is a slope.
const NEAR: usize = FEWEST_FOR_CHANGE_POINT / 2;

/// The fewest repetitions that can have something in common: a machine's mood outlasts one, and where the
/// host is busy a few.
const FEWEST_REPETITIONS: usize = 5;

/// The share of the repetitions that have a step each by itself, of half the size at least.
const MOST: f64 = 0.75;

/// A step of the latency along a generation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyStep {
    /// The first generated token after it, counted from 1; the first token that has a latency is the
    /// second.
    pub token: usize,
    /// Tokens of a row in the cache at that token's decode step.
    pub context: usize,
    /// The median latency shortly before it.
    pub before_ns: f64,
    /// The median latency shortly after it.
    pub after_ns: f64,
    /// [`ChangePoint::p_value`](crate::ChangePoint::p_value).
    pub p_value: f64,
}

/// The steps of latency along the generation of a target's test, over all repetitions.
pub fn latency_steps(result: &RunResult, target: &TargetId, test: &Test) -> Vec<LatencyStep> {
    if test.as_generate().is_none() {
        // The tokens of a conversation's turns aren't one generation.
        return Vec::new();
    }
    let samples = result.samples_of(target, test);
    let repetitions = samples.map(|sample| {
        let latencies = metrics::inter_token(sample);
        latencies.map(|time| time.0 as f64).collect()
    });
    steps(&repetitions.collect::<Vec<Vec<f64>>>())
        .into_iter()
        .map(|step| LatencyStep {
            // The latency at 0 is that of the second token, whose step finds the prompt in the cache.
            token: step.index + 2,
            context: test.context() + step.index,
            before_ns: step.before,
            after_ns: step.after,
            p_value: step.p_value,
        })
        .collect()
}

/// A step in a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The first value after it.
    pub index: usize,
    /// The median shortly before it.
    pub before: f64,
    /// The median shortly after it.
    pub after: f64,
    /// How likely a series without one has as clear a one.
    pub p_value: f64,
}

/// The steps that `repetitions` of one series have in common.
///
/// A stall of one repetition is gone in the median of a position over all of them, one at the same
/// positions in all, such as every 64th, in the median of a block of positions where a generation is
/// long, and in ranks where it isn't. The even growth is taken off; then the levels are those that
/// [`change_points`] finds. One is a step where it is complete within five blocks and of
/// [`SMALLEST_JUMP`], and where most repetitions have it each by itself: steps at other positions in
/// each, as a host makes them that is busy for a while, also move the median.
pub fn steps(repetitions: &[Vec<f64>]) -> Vec<Step> {
    if repetitions.len() < FEWEST_REPETITIONS {
        return Vec::new();
    }
    let positions = repetitions.iter().map(Vec::len).min().unwrap_or(0);
    let median = |values: &[f64]| median(values).unwrap_or_default();
    let across = |at: usize| {
        let values = repetitions.iter().map(|repetition| repetition[at]);
        median(&values.collect::<Vec<f64>>())
    };
    let series: Vec<f64> = (0..positions).map(across).collect();
    let block = positions.div_ceil(MOST_BLOCKS).max(1);
    // Less than a block at the end is no block.
    let blocks: Vec<f64> = series.chunks_exact(block).map(median).collect();
    if blocks.len() < FEWEST_FOR_CHANGE_POINT {
        return Vec::new();
    }
    let growth = even_growth(&blocks);
    let centre = (blocks.len() - 1) as f64 / 2.0;
    let level = blocks.iter().enumerate();
    let level = level.map(|(at, value)| value - growth * (at as f64 - centre));
    let level: Vec<f64> = level.collect();
    let found = change_points(&level).into_iter().filter_map(|change| {
        // A level holds at least as many.
        let near = change.index - NEAR..change.index + NEAR;
        let sides = [near.start..change.index, change.index..near.end];
        let [before, after] = sides.clone().map(|side| median(&level[side]));
        let jump = (after / before).ln().abs();
        // A level that isn't positive is a growth that isn't even.
        if !jump.is_finite() || jump < SMALLEST_JUMP.ln() {
            return None;
        }
        let direction = (after / before).ln().signum();
        let by_itself = repetitions.iter().filter(|own| {
            let [before, after] = sides
                .clone()
                .map(|side| median(&own[side.start * block..side.end * block]));
            (after / before).ln() * direction >= jump / 2.0
        });
        if (by_itself.count() as f64) < MOST * repetitions.len() as f64 {
            return None;
        }
        let [before, after] = sides.map(|side| median(&blocks[side]));
        let first = near.start * block;
        let around = &series[first..near.end * block];
        // It may lie within the block before or after.
        let index = split_of_least_distance(around, (NEAR - 1) * block..(NEAR + 1) * block + 1)?;
        Some(Step {
            index: first + index,
            before,
            after,
            p_value: change.p_value,
        })
    });
    found.collect()
}

/// By how much values grow from one to the next, steps left aside: the median over pairs that are an
/// eighth of the series apart, of which a step lies between few.
fn even_growth(values: &[f64]) -> f64 {
    let apart = (values.len() / 8).max(1);
    let pairs = values.iter().zip(&values[apart..]);
    let slopes = pairs.map(|(first, second)| (second - first) / apart as f64);
    median(&slopes.collect::<Vec<f64>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mlxbench_core::results::Sample;

    use super::*;
    use crate::fixture::{result, sample, target, test};

    /// Five repetitions of `count` latencies of about `latency(index)`, none twice the same.
    fn repetitions(count: usize, latency: impl Fn(usize) -> f64) -> Vec<Vec<f64>> {
        let noisy = |repetition: usize, at: usize| {
            latency(at) * (1.0 + 0.001 * ((7 * at + 3 * repetition) % 10) as f64)
        };
        let one = |repetition| (0..count).map(|at| noisy(repetition, at)).collect();
        (0..5).map(one).collect()
    }

    fn indices(repetitions: &[Vec<f64>]) -> Vec<usize> {
        let found = steps(repetitions);
        found.iter().map(|step| step.index).collect()
    }

    #[test]
    fn a_step_is_found_at_its_token() {
        for count in [63, 1023, 4095] {
            let at = count / 3;
            let found = steps(&repetitions(count, |own| if own < at { 5.0 } else { 10.0 }));
            let [step] = found[..] else {
                panic!("{found:?}")
            };
            assert_eq!(step.index, at);
            assert!((step.before - 5.0).abs() < 0.1 && (step.after - 10.0).abs() < 0.1);
        }
    }

    #[test]
    fn a_context_that_grows_is_no_step() {
        assert!(indices(&repetitions(2000, |at| 5.0 + at as f64 / 200.0)).is_empty());
        // A window that is full, after which fewer layers slow down.
        let window = |at: usize| 5.0 + at.min(512) as f64 / 200.0 + at as f64 / 1000.0;
        assert!(indices(&repetitions(2000, window)).is_empty());
    }

    #[test]
    fn a_step_on_a_slope_is_found_where_it_is() {
        let slope = |at: usize| (5.0 + at as f64 / 400.0) * if at < 960 { 1.0 } else { 1.6 };
        assert_eq!(indices(&repetitions(2000, slope)), [960]);
    }

    #[test]
    fn hiccups_that_repeat_are_no_steps_and_hide_none() {
        for count in [127, 2000] {
            let hiccup = |at: usize| if at % 16 == 15 { 8.0 } else { 1.0 };
            assert!(indices(&repetitions(count, |at| 5.0 * hiccup(at))).is_empty());
            let level = |at: usize| if at < count / 2 { 5.0 } else { 10.0 };
            let step = |at: usize| level(at) * hiccup(at);
            assert_eq!(indices(&repetitions(count, step)), [count / 2]);
        }
    }

    #[test]
    fn what_one_repetition_did_alone_is_no_step() {
        let mut stalled = repetitions(200, |_| 5.0);
        stalled[1][50..]
            .iter_mut()
            .for_each(|latency| *latency *= 3.0);
        stalled[3][120] = 500.0;
        assert!(indices(&stalled).is_empty());
    }

    #[test]
    fn steps_at_other_tokens_in_each_repetition_are_none_in_common() {
        let count = 128;
        let mut busy = repetitions(count, |_| 5.0);
        for (repetition, own) in busy.iter_mut().enumerate() {
            let from = 40 + 12 * repetition;
            own[from..].iter_mut().for_each(|latency| *latency *= 1.5);
        }
        assert!(indices(&busy).is_empty());
    }

    #[test]
    fn a_few_repetitions_have_nothing_in_common() {
        let step = repetitions(64, |at| if at < 31 { 5.0 } else { 10.0 });
        assert!(indices(&step[..4]).is_empty());
    }

    #[test]
    fn a_few_tokens_have_no_steps() {
        assert!(indices(&repetitions(9, |at| if at < 4 { 5.0 } else { 10.0 })).is_empty());
        assert!(steps(&[]).is_empty());
    }

    #[test]
    fn a_step_tells_its_token_and_the_tokens_in_the_cache() {
        let slow_from = |first: u64| {
            let mut now = 1_000;
            let times = (1..=64).map(|token| {
                let step = if token < first { 5_000 } else { 10_000 };
                now += step + token % 3;
                now
            });
            times.collect::<Vec<u64>>()
        };
        let samples: Vec<Sample> = (0..5)
            .map(|_| sample(test(100, 64), &slow_from(31)))
            .collect();
        let found = latency_steps(&result(samples), &target(), &test(100, 64));
        let [step] = found[..] else {
            panic!("{found:?}")
        };
        // The second token's step finds 100 tokens, the 31st's 129.
        assert_eq!((step.token, step.context), (31, 129));
    }
}
