//! Sweeps of a length in a result, and the jumps along them: a target's tests that differ in how long
//! the prompt, the generation or the context is, and in nothing else.

use mlxbench_core::results::{GenerateTest, Metric, RunResult, TargetId, Test};
use serde::Serialize;

use crate::history::gap;
use crate::metrics;
use crate::roofline::{Work, decode_work, prefill_work};
use crate::smooth::{Explained, FEWEST_LENGTHS, Shape, departures};
use crate::stats::{median, quantile, sorted};
use crate::summary::Row;

/// A length that tests may differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Tokens of the prompt.
    PromptTokens,
    /// Tokens that are generated.
    GenerateTokens,
    /// Tokens in the cache before the clock starts.
    Depth,
}

impl Length {
    /// Every length.
    pub const ALL: [Self; 3] = [Self::PromptTokens, Self::GenerateTokens, Self::Depth];

    /// How long it is in `test`.
    pub fn of(self, test: &Test) -> usize {
        match self {
            Self::PromptTokens => test.prompt_tokens(),
            Self::GenerateTokens => test.generate_tokens(),
            Self::Depth => test.depth(),
        }
    }

    /// What tests of one sweep have in common.
    fn others(self, test: &Test) -> Option<GenerateTest> {
        let mut others = *test.as_generate()?;
        match self {
            Self::PromptTokens => others.prompt_tokens = 0,
            Self::GenerateTokens => others.generate_tokens = 0,
            Self::Depth => others.depth = 0,
        }
        Some(others)
    }
}

/// What may jump along a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// [`Metric::Decode`].
    DecodeTokensPerSecond,
    /// [`Metric::Prefill`].
    PrefillTokensPerSecond,
    /// The median inter-token latency of each repetition.
    InterTokenP50Ns,
    /// The largest inter-token latency of each repetition.
    InterTokenMaxNs,
}

impl Figure {
    /// Every figure, the one that a reader looks at first before those that mostly jump with it.
    pub const ALL: [Self; 4] = [
        Self::DecodeTokensPerSecond,
        Self::PrefillTokensPerSecond,
        Self::InterTokenP50Ns,
        Self::InterTokenMaxNs,
    ];

    /// Whether it is one of prefill, which the length of a generation has no part in.
    fn is_prefill(self) -> bool {
        self == Self::PrefillTokensPerSecond
    }

    /// One value a repetition, in tokens a second or nanoseconds.
    fn values(self, result: &RunResult, target: &TargetId, test: &Test) -> Vec<f64> {
        let latencies = |of: fn(&[f64]) -> Option<f64>| {
            let samples = result.samples_of(target, test);
            let values = samples.filter_map(|sample| {
                let latencies = metrics::inter_token(sample).map(|time| time.0 as f64);
                of(&sorted(&latencies.collect::<Vec<f64>>()))
            });
            values.collect()
        };
        match self {
            Self::DecodeTokensPerSecond => metrics::values(Metric::Decode, result, target, test),
            Self::PrefillTokensPerSecond => metrics::values(Metric::Prefill, result, target, test),
            Self::InterTokenP50Ns => latencies(|sorted| quantile(sorted, 0.5)),
            Self::InterTokenMaxNs => latencies(|sorted| sorted.last().copied()),
        }
    }
}

/// Tests of a target that differ in one length only, at least [`FEWEST_LENGTHS`] of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// Which target.
    pub target: TargetId,
    /// In what they differ.
    pub length: Length,
    /// The tests, the shortest first.
    pub tests: Vec<Test>,
    /// What jumps along them, figure by figure, in the order of the lengths.
    pub jumps: Vec<Jump>,
}

/// A jump of a figure from one length to the next, beside what length and work explain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Jump {
    /// What jumps.
    pub figure: Figure,
    /// Whether it stays.
    pub shape: Shape,
    /// The last test before it.
    pub before: Place,
    /// The first test of the new level, or that of the spike.
    pub at: Place,
    /// The test after a spike.
    pub after: Option<Place>,
    /// How many times as long it takes as the other lengths and the work let expect: 2 is half as
    /// fast.
    pub times: f64,
    /// [`Departure::p_value`](crate::smooth::Departure::p_value).
    pub p_value: f64,
}

/// A figure at a length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Place {
    /// The test.
    pub test: Test,
    /// Its length along the sweep, in tokens.
    pub length: usize,
    /// The figure's median, in tokens a second or nanoseconds.
    pub median: f64,
}

/// The sweeps of `result`, whose rows are `rows`, target by target, with their jumps. Tests whose figures don't count
/// are left out.
pub fn sweeps(result: &RunResult, rows: &[Row]) -> Vec<Sweep> {
    let mut sweeps = Vec::new();
    for target in &result.run.targets {
        let own = rows.iter().filter(|row| row.target == *target);
        let sound = own.filter(|row| {
            gap(result, &row.target, &row.test, &row.status, row.repetitions).is_none()
        });
        let tests: Vec<Test> = sound.map(|row| row.test).collect();
        for length in Length::ALL {
            let swept = swept(length, &tests).into_iter();
            sweeps.extend(swept.map(|tests| Sweep {
                target: target.clone(),
                length,
                jumps: jumps(result, target, length, &tests),
                tests,
            }));
        }
    }
    sweeps
}

/// The groups of `tests` that differ in `length` only and are enough, the shortest first in each.
fn swept(length: Length, tests: &[Test]) -> Vec<Vec<Test>> {
    let mut groups: Vec<(GenerateTest, Vec<Test>)> = Vec::new();
    for test in tests {
        let Some(others) = length.others(test) else {
            continue;
        };
        match groups.iter_mut().find(|(known, _)| *known == others) {
            Some((_, group)) => group.push(*test),
            None => groups.push((others, vec![*test])),
        }
    }
    let groups = groups.into_iter().map(|(_, mut group)| {
        group.sort_by_key(|test| length.of(test));
        group
    });
    groups
        .filter(|group| group.len() >= FEWEST_LENGTHS)
        .collect()
}

fn jumps(result: &RunResult, target: &TargetId, length: Length, tests: &[Test]) -> Vec<Jump> {
    let figures = Figure::ALL.into_iter();
    let figures =
        figures.filter(|figure| !(figure.is_prefill() && length == Length::GenerateTokens));
    figures
        .flat_map(|figure| jumps_of(figure, result, target, length, tests))
        .collect()
}

/// A test with what one figure is there.
struct Measured {
    place: Place,
    /// Times, one a repetition: of one decode step, of all where generations differ in length, of a
    /// prompt.
    times: Vec<f64>,
    /// What they may grow with.
    grows: Grows,
}

/// What a time may grow with, on one test.
struct Grows {
    /// Tokens: of the prompt, in the context, or decode steps.
    length: f64,
    /// The least work, where the model's shapes are known.
    work: Option<Work>,
}

fn jumps_of(
    figure: Figure,
    result: &RunResult,
    target: &TargetId,
    length: Length,
    tests: &[Test],
) -> Vec<Jump> {
    let measured = tests.iter().filter_map(|test| {
        let values = figure.values(result, target, test);
        let median = median(&values).filter(|median| *median > 0.0)?;
        let tokens = tokens(figure, length, test);
        let time = |value: &f64| match figure {
            Figure::DecodeTokensPerSecond | Figure::PrefillTokensPerSecond => tokens / value,
            Figure::InterTokenP50Ns | Figure::InterTokenMaxNs => *value,
        };
        Some(Measured {
            place: Place {
                test: *test,
                length: length.of(test),
                median,
            },
            times: values.iter().map(time).collect(),
            grows: grows(figure, result, target, length, test),
        })
    });
    let measured: Vec<Measured> = measured.collect();
    let times: Vec<Vec<f64>> = measured.iter().map(|own| own.times.clone()).collect();
    let departures = departures(&times, &explained(figure, &measured)).into_iter();
    departures
        .map(|departure| Jump {
            figure,
            shape: departure.shape,
            before: measured[departure.at - 1].place,
            at: measured[departure.at].place,
            after: match departure.shape {
                Shape::Step => None,
                Shape::Spike => Some(measured[departure.at + 1].place),
            },
            times: departure.times,
            p_value: departure.p_value,
        })
        .collect()
}

/// Tokens of a row that a time holds. A decode step, where generations don't differ in length; where
/// they do, all steps: the first one may cost more than the others.
fn tokens(figure: Figure, length: Length, test: &Test) -> f64 {
    match (figure, length) {
        (Figure::PrefillTokensPerSecond, _) => test.prompt_tokens() as f64,
        (Figure::DecodeTokensPerSecond, Length::GenerateTokens) => test.steps() as f64,
        _ => 1.0,
    }
}

fn grows(
    figure: Figure,
    result: &RunResult,
    target: &TargetId,
    length: Length,
    test: &Test,
) -> Grows {
    let work = match figure.is_prefill() {
        true => prefill_work(result, target, test),
        false => decode_work(result, target, test),
    };
    let tokens = tokens(figure, length, test);
    let length = match (figure, length) {
        (Figure::PrefillTokensPerSecond, Length::Depth) => test.context() as f64,
        (Figure::PrefillTokensPerSecond, _) => tokens,
        (Figure::DecodeTokensPerSecond, Length::GenerateTokens) => tokens,
        // Of the context, on the mean of all steps.
        _ => test.context() as f64 + test.steps() as f64 / 2.0,
    };
    let work = work.map(|work| Work {
        operations: work.operations * tokens,
        bytes: work.bytes * tokens,
    });
    Grows { length, work }
}

/// A constant, the length, bytes and operations beyond the least of the sweep (the constant stands for
/// the rest); in place of work that isn't known the square of the length. Prefill may be bound by its
/// tokens or operations from some length on.
fn explained(figure: Figure, measured: &[Measured]) -> Explained {
    let each = |of: fn(&Grows) -> f64| -> Vec<f64> {
        measured
            .iter()
            .map(|measured| of(&measured.grows))
            .collect()
    };
    let beyond_least = |values: Vec<f64>| -> Vec<f64> {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        values.iter().map(|value| value - least).collect()
    };
    let work = |of: fn(&Work) -> f64| -> Option<Vec<f64>> {
        let works = measured.iter().map(|measured| measured.grows.work.as_ref());
        works.map(|work| work.map(of)).collect()
    };
    let length = each(|grows| grows.length);
    let (bytes, operations) = (work(|work| work.bytes), work(|work| work.operations));
    let bounds = match figure.is_prefill() {
        true => [Some(length.clone()), operations.clone()],
        false => [None, None],
    };
    let of_work = match (bytes, operations) {
        (Some(bytes), Some(operations)) => vec![bytes, operations],
        _ => vec![each(|grows| grows.length.powi(2))],
    };
    let of_work = of_work.into_iter().map(beyond_least);
    // A term that is always 0 would be no term.
    let of_work = of_work.filter(|term| term.iter().any(|value| *value > 0.0));
    Explained {
        terms: [each(|_| 1.0), length].into_iter().chain(of_work).collect(),
        bounds: bounds.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;
    use mlxbench_core::results::Sample;

    use super::*;
    use crate::fixture::{resized, result, sample, target, test};
    use crate::summary::summarize;

    const LENGTHS: [usize; 6] = [128, 256, 512, 1024, 2048, 4096];

    /// Six repetitions 0.1 % apart, of a prompt that takes `prompt` ms and steps of `step` ms.
    fn samples(test: Test, prompt: f64, step: f64) -> impl Iterator<Item = Sample> {
        (0..6).map(move |repetition| {
            let ns = |ms: f64| (ms * 1e6 * (1.0 + 0.001 * f64::from(repetition))) as u64;
            let tokens = 0..test.generate_tokens().max(1);
            let times = tokens.map(|token| ns(prompt) + token as u64 * ns(step));
            sample(test, &times.collect::<Vec<u64>>())
        })
    }

    /// The sweeps of tests, each with the time of its prompt and of its steps in ms.
    fn swept(tests: &[(Test, f64, f64)]) -> Vec<Sweep> {
        let all = tests.iter();
        let all = all.flat_map(|&(test, prompt, step)| samples(test, prompt, step));
        let mut result = result(all.collect());
        result.run.model.config = Some(preset("gemma-3-270m").unwrap().config());
        result.run.tests = tests.iter().map(|(test, _, _)| *test).collect();
        summarize(&result).sweeps
    }

    /// A prompt whose rate rises and saturates, a decode step that slows down with the context.
    fn smooth(test: Test) -> (Test, f64, f64) {
        let (prompt, context) = (test.prompt_tokens() as f64, test.context() as f64);
        (test, 10.0 + prompt / 50.0, 4.0 + context / 1000.0)
    }

    #[test]
    fn a_sweep_is_tests_that_differ_in_one_length_only() {
        let mut tests: Vec<_> = LENGTHS.map(|length| smooth(test(length, 8))).into();
        tests.reverse();
        tests.push(smooth(resized(test(128, 8), |test| test.batch = 2)));
        tests.extend([16, 32].map(|tokens| smooth(test(128, tokens))));
        let sweeps = swept(&tests);
        let [sweep] = &sweeps[..] else {
            panic!("{sweeps:?}")
        };
        assert_eq!(
            (&sweep.target, sweep.length),
            (&target(), Length::PromptTokens)
        );
        assert_eq!(sweep.tests, LENGTHS.map(|length| test(length, 8)));
        // With one length more, generations are a sweep, too.
        tests.push(smooth(test(128, 64)));
        let lengths: Vec<Length> = swept(&tests).iter().map(|sweep| sweep.length).collect();
        assert_eq!(lengths, [Length::PromptTokens, Length::GenerateTokens]);
    }

    #[test]
    fn rates_that_rise_and_fall_smoothly_do_not_jump() {
        let prompts = LENGTHS.map(|length| smooth(test(length, 8)));
        let depths = LENGTHS.map(|depth| smooth(resized(test(64, 8), |test| test.depth = depth)));
        let generations = LENGTHS.map(|tokens| smooth(test(32, tokens)));
        for tests in [prompts, depths, generations] {
            let sweeps = swept(&tests);
            assert_eq!(sweeps.len(), 1);
            assert_eq!(sweeps[0].jumps, []);
        }
    }

    #[test]
    fn a_step_is_found_in_its_figure_and_place() {
        let tests = LENGTHS.map(|length| {
            let (test, prompt, step) = smooth(test(length, 8));
            (test, prompt, if length >= 1024 { 2.0 * step } else { step })
        });
        let jumps = &swept(&tests)[0].jumps;
        let figures: Vec<Figure> = jumps.iter().map(|jump| jump.figure).collect();
        let of_decode = [
            Figure::DecodeTokensPerSecond,
            Figure::InterTokenP50Ns,
            Figure::InterTokenMaxNs,
        ];
        assert_eq!(figures, of_decode);
        let jump = jumps[0];
        assert_eq!((jump.shape, jump.after), (Shape::Step, None));
        assert_eq!((jump.before.length, jump.at.length), (512, 1024));
        assert!((jump.times - 2.0).abs() < 0.1, "{jump:?}");
        assert!(
            (jump.before.median - 1000.0 / 4.512).abs() < 1.0,
            "{jump:?}"
        );
    }

    #[test]
    fn a_prompt_that_is_read_far_too_slowly_is_a_spike() {
        let tests = LENGTHS.map(|length| {
            let (test, prompt, step) = smooth(test(length, 8));
            (
                test,
                if length == 512 { 21.0 * prompt } else { prompt },
                step,
            )
        });
        let jumps = &swept(&tests)[0].jumps;
        let [jump] = jumps[..] else {
            panic!("{jumps:?}")
        };
        assert_eq!(
            (jump.figure, jump.shape),
            (Figure::PrefillTokensPerSecond, Shape::Spike)
        );
        let lengths = [Some(jump.before), Some(jump.at), jump.after];
        assert_eq!(lengths.map(|place| place.unwrap().length), [256, 512, 1024]);
        assert!((jump.times - 21.0).abs() < 1.0, "{jump:?}");
    }

    #[test]
    fn what_did_not_run_is_no_point_of_a_sweep() {
        let tests = LENGTHS.map(|length| smooth(test(length, 8)));
        let mut result = result(samples(test(128, 8), 10.0, 4.0).collect());
        result.run.tests = tests.iter().map(|(test, _, _)| *test).collect();
        assert_eq!(summarize(&result).sweeps, []);
    }

    #[test]
    fn a_bend_where_prompts_begin_to_fill_the_device_is_no_jump() {
        let tests = LENGTHS.map(|length| {
            let (test, _, step) = smooth(test(length, 8));
            (test, (length as f64 / 30.0).max(20.0), step)
        });
        assert_eq!(swept(&tests)[0].jumps, []);
    }

    #[test]
    fn without_shapes_the_length_alone_explains() {
        let tests = LENGTHS.map(|length| smooth(test(length, 8)));
        let all = tests.iter();
        let all = all.flat_map(|&(test, prompt, step)| samples(test, prompt, step));
        let mut result = result(all.collect());
        result.run.tests = tests.iter().map(|(test, _, _)| *test).collect();
        assert_eq!(result.run.model.config, None);
        assert_eq!(summarize(&result).sweeps[0].jumps, []);
    }
}
