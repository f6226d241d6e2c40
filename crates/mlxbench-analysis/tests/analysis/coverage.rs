//! Do the intervals cover what they say? Simulated experiments whose true median is known.

use mlxbench_analysis::Estimate;

use crate::luck::{
    LUCK, Method, SHAPES, coverage as coverage_of, coverage_once_narrow, ratio_coverage,
};
use crate::noise::Noise;

const EXPERIMENTS: usize = 2_000;
const TOKENS: usize = 32;
const SEED: u64 = 7;

/// The token latencies of one repetition, in milliseconds: 10, times what the repetition has in
/// common (2 %, the clock or the memory it got), times a disturbance that outlives a token (AR(1)
/// with phi 0.9, 3 %), and one token in 500 takes three times as long.
fn latencies(noise: &mut Noise) -> Vec<f64> {
    const PHI: f64 = 0.9;
    let repetition = (0.02 * noise.normal()).exp();
    let mut disturbance = noise.normal();
    let token = |_| {
        disturbance = PHI * disturbance + (1.0 - PHI * PHI).sqrt() * noise.normal();
        let spike = if noise.uniform() < 0.002 { 3.0 } else { 1.0 };
        10.0 * repetition * (0.03 * disturbance).exp() * spike
    };
    (0..TOKENS).map(token).collect()
}

/// A repetition's decode rate in tokens per second: all its tokens but the first, which prefill
/// made, over the time from the first to the last.
fn decode_rate(latencies: &[f64]) -> f64 {
    1000.0 * latencies.len() as f64 / latencies.iter().sum::<f64>()
}

/// The decode rates of `n` repetitions.
fn rates(n: usize, noise: &mut Noise) -> Vec<f64> {
    (0..n).map(|_| decode_rate(&latencies(noise))).collect()
}

/// The median of `figure`'s numbers from 100,000 repetitions.
fn true_median(figure: impl Fn(&mut Noise) -> Vec<f64>) -> f64 {
    let mut noise = Noise::seeded(SEED + 1);
    let mut figures: Vec<f64> = (0..100_000).flat_map(|_| figure(&mut noise)).collect();
    let middle = figures.len() / 2;
    *figures.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The share of `experiments` whose interval covers `truth`.
fn coverage(
    truth: f64,
    experiments: usize,
    mut estimate: impl FnMut(&mut Noise) -> Option<Estimate>,
) -> f64 {
    let mut noise = Noise::seeded(SEED);
    let covers = |_: &usize| {
        let interval = estimate(&mut noise).and_then(|estimate| estimate.interval);
        interval.is_some_and(|interval| interval.low <= truth && truth <= interval.high)
    };
    (0..experiments).filter(covers).count() as f64 / experiments as f64
}

#[test]
fn intervals_of_repetitions_cover_the_true_median() {
    let truth = true_median(|noise| vec![decode_rate(&latencies(noise))]);
    std::thread::scope(|scope| {
        // At 23 the plain percentile interval would cover 91 %.
        for n in [5, 10, 20, 23] {
            scope.spawn(move || {
                let estimate = |noise: &mut Noise| Estimate::of(&rates(n, noise));
                let covered = coverage(truth, EXPERIMENTS, estimate);
                assert!((0.92..=0.98).contains(&covered), "{covered} at n = {n}");
            });
        }
    });
}

#[test]
fn intervals_of_ratios_cover_the_true_ratio() {
    std::thread::scope(|scope| {
        for n in [5, 10, 20] {
            scope.spawn(move || {
                // Of the same build twice.
                let estimate = |noise: &mut Noise| {
                    let (before, after) = (rates(n, noise), rates(n, noise));
                    Estimate::of_ratio(&after, &before)
                };
                let covered = coverage(1.0, EXPERIMENTS, estimate);
                assert!((0.955..=0.993).contains(&covered), "{covered} at n = {n}");
            });
        }
    });
}

#[test]
fn intervals_of_pooled_tokens_do_not() {
    // Tokens of one repetition resemble each other: 160 of them say hardly more than five
    // repetitions, and an interval that takes them as independent is far too narrow.
    let truth = true_median(latencies);
    let tokens = |noise: &mut Noise| (0..5).flat_map(|_| latencies(noise)).collect::<Vec<f64>>();
    let covered = coverage(truth, 100, |noise| Estimate::of(&tokens(noise)));
    assert!(covered < 0.8, "{covered}");
}

#[test]
fn intervals_cover_what_luck_makes_of_a_process() {
    std::thread::scope(|scope| {
        // In one process only where there is no luck.
        let designs = [(2, 3), (3, 2), (3, 4), (4, 2), (5, 2), (10, 1)];
        let single = LUCK.into_iter().filter(|luck| luck.between == 0.0);
        let several = LUCK.into_iter();
        let several = several.flat_map(|luck| designs.map(|design| (luck, design)));
        let shapes = SHAPES.map(|luck| (luck, (3, 2)));
        let single = single.map(|luck| (luck, (1, 6)));
        for (luck, design) in single.chain(several).chain(shapes) {
            scope.spawn(move || {
                let (covered, _) = coverage_of(luck, design, Method::Processes, EXPERIMENTS);
                let what = format!("{}, {design:?}", luck.name);
                assert!((0.92..=0.98).contains(&covered), "{what}: {covered}");
            });
        }
    });
}

#[test]
fn intervals_that_pool_repetitions_of_processes_do_not() {
    let luck = LUCK.into_iter().find(|luck| luck.between > 0.0);
    let luck = luck.expect("some have luck");
    for method in [Method::Pooled, Method::Resampled] {
        let (covered, _) = coverage_of(luck, (3, 2), method, 500);
        assert!(covered < 0.92, "{covered}");
    }
    let (covered, _) = coverage_of(luck, (1, 6), Method::Processes, 500);
    assert!(covered < 0.5, "one process can't tell: {covered}");
}

#[test]
fn intervals_of_ratios_cover_what_luck_makes_of_two_targets() {
    for luck in LUCK {
        for design in [(3, 2), (5, 2)] {
            let covered = ratio_coverage(luck, design, EXPERIMENTS);
            assert!(
                (0.92..=0.993).contains(&covered),
                "{}: {covered}",
                luck.name
            );
        }
    }
}

#[test]
fn intervals_that_end_an_experiment_cover_less_and_still_most() {
    for luck in LUCK {
        let (covered, ran) = coverage_once_narrow(luck, (3, 2), 0.05, 15, 500);
        assert!((0.88..=0.97).contains(&covered), "{}: {covered}", luck.name);
        assert!(ran < 15.0, "{}: {ran}", luck.name);
    }
}
