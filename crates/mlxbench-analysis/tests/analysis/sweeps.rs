//! How often is a jump found along a smooth sweep, and how often where there is one? Simulated sweeps
//! over lengths that double, in noise of 5 %, whose true jumps are known.

use mlxbench_analysis::positions::steps;
use mlxbench_analysis::smooth::{Departure, Explained, Shape, departures};
use mlxbench_core::gemma::preset;
use mlxbench_core::{Dtype, GemmaConfig};

use crate::noise::Noise;

const SEED: u64 = 16;
const NOISE: f64 = 0.05;
const SWEEPS: usize = 400;

/// A smooth sweep of some machine and framework: true times, and what explains them.
type Smooth = fn(&[f64], &GemmaConfig, &mut Noise) -> (Vec<f64>, Explained);

/// Between two powers of ten.
fn magnitude(low: f64, high: f64, noise: &mut Noise) -> f64 {
    10_f64.powf(low + (high - low) * noise.uniform())
}

fn beyond_least(values: Vec<f64>) -> Vec<f64> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    values.iter().map(|value| value - least).collect()
}

/// A decode step: launches, weights at the bandwidth, keys and values at a tenth of it or less.
fn decode(lengths: &[f64], config: &GemmaConfig, noise: &mut Noise) -> (Vec<f64>, Explained) {
    let storage = config.storage(Dtype::Bf16.into());
    let step = |length: &f64| config.decode_step_bytes(&storage, 1, *length as usize) as f64;
    let bytes: Vec<f64> = lengths.iter().map(step).collect();
    let seen = beyond_least(bytes.clone());
    let (launches, slower) = (magnitude(-1.0, 1.0, noise), magnitude(0.0, 1.5, noise));
    let time = |(all, seen): (&f64, &f64)| launches + (all + slower * seen) / bytes[0];
    let times = bytes.iter().zip(&seen).map(time).collect();
    let terms = vec![vec![1.0; lengths.len()], lengths.to_vec(), seen];
    (
        times,
        Explained {
            terms,
            bounds: Vec::new(),
        },
    )
}

fn operations(lengths: &[f64], config: &GemmaConfig) -> Vec<f64> {
    let of = |length: &f64| config.prefill_operations(1, 0, *length as usize, 2048) as f64;
    lengths.iter().map(of).collect()
}

fn prompts(lengths: &[f64], config: &GemmaConfig) -> Explained {
    let operations = operations(lengths, config);
    let terms = vec![
        vec![1.0; lengths.len()],
        lengths.to_vec(),
        beyond_least(operations.clone()),
    ];
    Explained {
        terms,
        bounds: vec![lengths.to_vec(), operations],
    }
}

/// A prompt: launches and products one after the other.
fn prefill(lengths: &[f64], config: &GemmaConfig, noise: &mut Noise) -> (Vec<f64>, Explained) {
    let operations = operations(lengths, config);
    let launches = magnitude(-1.0, 1.0, noise);
    let times = operations.iter().map(|own| launches + own / operations[0]);
    (times.collect(), prompts(lengths, config))
}

/// A prompt whose launches go on while the device works: the slower of both.
fn overlapped(lengths: &[f64], config: &GemmaConfig, noise: &mut Noise) -> (Vec<f64>, Explained) {
    let operations = operations(lengths, config);
    let launches = magnitude(0.0, 1.5, noise);
    let times = operations
        .iter()
        .map(|own| launches.max(own / operations[0]));
    (times.collect(), prompts(lengths, config))
}

/// A jump that is planted.
#[derive(Clone, Copy)]
enum Planted {
    None,
    Step(f64),
    Spike(f64),
}

/// The share of sweeps in which exactly what was planted is found; at an end of the sweep, too, or not.
fn right(smooth: Smooth, planted: Planted, ends: bool) -> f64 {
    let config = preset("gemma-3-1b").expect("a preset").config();
    let mut noise = Noise::seeded(SEED);
    let drawn = |most: usize, noise: &mut Noise| (noise.uniform() * most as f64) as usize;
    let holds = |_: &usize| {
        let count = if ends { 4 } else { 5 } + drawn(4, &mut noise);
        let lengths: Vec<f64> = (0..count).map(|at| 64.0 * 2_f64.powi(at as i32)).collect();
        let (mut times, explained) = smooth(&lengths, &config, &mut noise);
        let at = match ends {
            true => 1 + drawn(count - 1, &mut noise),
            false => 2 + drawn(count - 3, &mut noise),
        };
        let expected = match planted {
            Planted::None => None,
            Planted::Step(factor) => {
                times[at..].iter_mut().for_each(|time| *time *= factor);
                Some((at, Shape::Step))
            }
            Planted::Spike(factor) => {
                times[at] *= factor;
                // Nothing tells them apart at the end.
                let last = at == count - 1;
                Some((at, if last { Shape::Step } else { Shape::Spike }))
            }
        };
        let repetitions = [5, 7, 10][drawn(3, &mut noise)];
        let samples = times.iter().map(|time| {
            let samples = 0..repetitions;
            samples
                .map(|_| time * (NOISE * noise.normal()).exp())
                .collect()
        });
        let samples: Vec<Vec<f64>> = samples.collect();
        let found = departures(&samples, &explained);
        let place = |found: &Departure| (found.at, found.shape);
        found.iter().map(place).eq(expected)
    };
    (0..SWEEPS).filter(holds).count() as f64 / SWEEPS as f64
}

#[test]
fn smooth_sweeps_have_no_jumps() {
    let all: [(&str, Smooth); 3] = [
        ("decode", decode),
        ("prefill", prefill),
        ("overlapped", overlapped),
    ];
    for (name, smooth) in all {
        let none = right(smooth, Planted::None, true);
        println!("smooth {name}: {:.1} % without a jump", 100.0 * none);
        assert!(none >= 0.95, "{name}: {none}");
    }
}

#[test]
fn planted_jumps_are_found_where_they_are() {
    // A step at an end of a sweep of prompts may be where the device begins to be the limit.
    let all: [(&str, Smooth, bool); 2] = [("decode", decode, true), ("prefill", prefill, false)];
    std::thread::scope(|scope| {
        for (name, smooth, ends) in all {
            for (what, planted) in [
                ("twice as long", Planted::Step(2.0)),
                ("half as long", Planted::Step(0.5)),
                ("a spike of 3", Planted::Spike(3.0)),
            ] {
                scope.spawn(move || {
                    let found = right(smooth, planted, ends);
                    println!("{name}, {what}: {:.1} % found", 100.0 * found);
                    assert!(found >= 0.95, "{name}, {what}: {found}");
                });
            }
        }
    });
}

#[test]
fn noise_of_twenty_per_cent_rarely_jumps() {
    let mut noise = Noise::seeded(SEED);
    let explained = Explained {
        terms: vec![vec![1.0; 7], (0..7).map(|at| 2_f64.powi(at)).collect()],
        bounds: Vec::new(),
    };
    let jumps = |_: &usize| {
        let mut samples = || (0..7).map(|_| (0.2 * noise.normal()).exp()).collect();
        let samples: Vec<Vec<f64>> = (0..7).map(|_| samples()).collect();
        !departures(&samples, &explained).is_empty()
    };
    let share = (0..SWEEPS).filter(jumps).count() as f64 / SWEEPS as f64;
    println!("noise of 20 %: {:.1} % with a jump", 100.0 * share);
    assert!(share <= 0.05, "{share}");
}

/// The share of generations of `tokens` in which the steps that are found are those expected: of a
/// latency that grows by `growth` over the generation, and doubles at `step`.
fn generations(tokens: usize, growth: f64, step: Option<usize>) -> f64 {
    let mut noise = Noise::seeded(SEED);
    let holds = |_: &usize| {
        let latency = |at: usize| {
            let grown = 1.0 + growth * at as f64 / tokens as f64;
            let doubled = step.is_some_and(|step| at >= step);
            grown * if doubled { 2.0 } else { 1.0 }
        };
        let mut repetition = || {
            let one = |at| {
                let stall = if noise.uniform() < 0.01 { 10.0 } else { 1.0 };
                latency(at) * stall * (NOISE * noise.normal()).exp()
            };
            (0..tokens).map(one).collect()
        };
        let repetitions: Vec<Vec<f64>> = (0..5).map(|_| repetition()).collect();
        let found = steps(&repetitions);
        let near = |at: usize| step.is_some_and(|step| at.abs_diff(step) <= 1);
        found.len() == usize::from(step.is_some()) && found.iter().all(|step| near(step.index))
    };
    let generations = 200;
    (0..generations).filter(holds).count() as f64 / generations as f64
}

#[test]
fn steps_along_a_generation_are_found_and_growth_is_none() {
    for (tokens, step) in [(63, 20), (255, 100), (1023, 896)] {
        for growth in [0.0, 0.5] {
            let none = generations(tokens, growth, None);
            let found = generations(tokens, growth, Some(step));
            println!("{tokens} tokens, growth {growth}: {none} without, {found} at most one off");
            assert!(none >= 0.95, "{tokens} tokens, growth {growth}: {none}");
            assert!(found >= 0.95, "{tokens} tokens, growth {growth}: {found}");
        }
    }
}
