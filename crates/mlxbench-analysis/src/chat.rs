//! Conversations: the figures of a row and of its turns, and what several kinds of conversation say together.

use std::collections::BTreeMap;

use mlxbench_core::Nanos;
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{Metric, RunResult, Sample, TargetId, Test, Verdict};
use serde::Serialize;

use crate::metrics;
use crate::stats::{Estimate, median};
use crate::summary::{RowStatus, case_status};

/// What a row of a conversation has beside the figures of every row. Its TTFT is the first turn's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatFigures {
    /// [`Metric::WarmTtft`].
    pub warm_ttft_ns: Option<Estimate>,
    /// [`Metric::ColdTtft`].
    pub cold_ttft_ns: Option<Estimate>,
    /// [`Metric::Overall`].
    pub overall_tokens_per_second: Option<Estimate>,
    /// Tokens that turns read again, since the cache couldn't be rewound; the most of the repetitions.
    pub read_again_tokens: usize,
    /// The turns.
    pub turns: Vec<TurnFigures>,
}

/// A turn over all repetitions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TurnFigures {
    /// Tokens of its prompt, history and all.
    pub prompt_tokens: usize,
    /// Those that the prompt before it hasn't.
    pub new_tokens: usize,
    /// Those that were read; the most of the repetitions.
    pub read_tokens: usize,
    /// Time to first token, the median of the repetitions.
    pub ttft_ns: Option<f64>,
    /// The most memory that was held up to the turn's end; the most of the repetitions.
    pub memory: Option<TurnMemory>,
}

/// The most memory that was held from a conversation's beginning to the end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TurnMemory {
    /// How much.
    pub bytes: u64,
    /// Whose count it is.
    pub of: MemoryOf,
}

/// Whose count of memory a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryOf {
    /// The framework's own, of the memory that it has on its device.
    Framework,
    /// The operating system's, of the worker process, which is looked at from time to time.
    Process,
}

impl MemoryOf {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Framework => "framework",
            Self::Process => "process",
        }
    }
}

impl ChatFigures {
    /// The figures of a target's conversation; `None` of another test, and where nothing was measured.
    pub fn of(result: &RunResult, target: &TargetId, test: &Test) -> Option<Self> {
        test.as_chat()?;
        let samples: Vec<&Sample> = result.samples_of(target, test).collect();
        let estimate = |metric| metrics::estimate(metric, result, target, test);
        let count = samples
            .iter()
            .filter_map(|s| s.turns.as_ref())
            .map(|t| t.turns.len())
            .max()?;
        let turns: Vec<TurnFigures> = (0..count).filter_map(|at| turn(&samples, at)).collect();
        let again = |turn: &TurnFigures| turn.read_tokens.saturating_sub(turn.new_tokens);
        Some(Self {
            warm_ttft_ns: estimate(Metric::WarmTtft),
            cold_ttft_ns: estimate(Metric::ColdTtft),
            overall_tokens_per_second: estimate(Metric::Overall),
            read_again_tokens: turns.iter().map(again).sum(),
            turns,
        })
    }
}

fn turn(samples: &[&Sample], at: usize) -> Option<TurnFigures> {
    let turns = samples
        .iter()
        .filter_map(|sample| sample.turns.as_ref()?.turns.get(at));
    let times = turns.clone().filter_map(|turn| turn.token_ns.first());
    let times: Vec<f64> = times.map(|time| time.0 as f64).collect();
    let first = turns.clone().next()?;
    Some(TurnFigures {
        prompt_tokens: first.prompt_tokens,
        new_tokens: first.new_tokens,
        read_tokens: turns.map(|turn| turn.read_tokens).max()?,
        ttft_ns: median(&times),
        memory: memory(samples, at),
    })
}

/// The memory of turn `at` by the framework's count, or by the process' where the framework keeps none.
fn memory(samples: &[&Sample], at: usize) -> Option<TurnMemory> {
    let most = |of, held: fn(&Sample, usize) -> Option<u64>| {
        let bytes = samples.iter().filter_map(|sample| held(sample, at)).max()?;
        Some(TurnMemory { bytes, of })
    };
    most(MemoryOf::Framework, framework_peak).or_else(|| most(MemoryOf::Process, process_peak))
}

fn framework_peak(sample: &Sample, at: usize) -> Option<u64> {
    sample.turns.as_ref()?.turns.get(at)?.device_peak_bytes
}

/// The most that the process held when it was looked at up to the end of turn `at`. That end is taken to be the sum of
/// the turns' times; what passes between turns isn't in them, so it is never later than the true one.
fn process_peak(sample: &Sample, at: usize) -> Option<u64> {
    let turns = sample.turns.as_ref()?.turns.get(..=at)?;
    let ends = turns.iter().filter_map(|turn| turn.token_ns.last());
    let end = ends.fold(0_u64, |sum, end| sum.saturating_add(end.0));
    sample.timeline.as_ref()?.highest_until(Nanos(end))
}

/// Several kinds of conversation together: geometric means over the kinds, so that each counts alike however long
/// it is (Fleming & Wallace, "How not to lie with statistics", CACM 29, 1986).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversations {
    /// Which target.
    pub target: TargetId,
    /// When the host waits for a token.
    pub mode: Mode,
    /// Tokens that are generated in each turn.
    pub generate_tokens: usize,
    /// The names of the conversations.
    pub names: Vec<String>,
    /// Of [`Metric::Overall`].
    pub overall_tokens_per_second: Option<Estimate>,
    /// Of [`Metric::WarmTtft`].
    pub warm_ttft_ns: Option<Estimate>,
    /// Of [`Metric::Decode`].
    pub decode_tokens_per_second: Option<Estimate>,
}

/// One for each target that has all of two or more conversations from files, with answers of one length, and in none of
/// them did something different from the reference.
pub fn conversations(result: &RunResult) -> Vec<Conversations> {
    // Answers of one length, read in one way: only the conversations differ.
    let mut groups: BTreeMap<(Mode, usize), Vec<&Test>> = BTreeMap::new();
    for test in &result.run.tests {
        if let Some(chat) = test.as_chat().filter(|chat| chat.conversation.is_some()) {
            let group = (chat.mode, chat.generate_tokens);
            groups.entry(group).or_default().push(test);
        }
    }
    let targets = result.run.targets.iter();
    let cases = targets.flat_map(|target| {
        groups
            .iter()
            .map(move |(group, tests)| (target, group, tests))
    });
    cases
        .filter_map(|(target, &(mode, generate_tokens), tests)| {
            let counts = |test: &&Test| {
                case_status(result, target, test) == RowStatus::Ok
                    && result.samples_of(target, test).next().is_some()
                    && result.verdict_of(target, test) != Some(Verdict::Different)
            };
            if tests.len() < 2 || !tests.iter().all(counts) {
                return None;
            }
            let names = tests.iter().filter_map(|test| test.as_chat()?.conversation);
            let mean = |metric| {
                let of_test =
                    |test: &&Test| metrics::values_by_repetition(metric, result, target, test);
                geometric_mean(&tests.iter().map(of_test).collect::<Vec<_>>())
            };
            Some(Conversations {
                target: target.clone(),
                mode,
                generate_tokens,
                names: names.map(|name| name.to_string()).collect(),
                overall_tokens_per_second: mean(Metric::Overall),
                warm_ttft_ns: mean(Metric::WarmTtft),
                decode_tokens_per_second: mean(Metric::Decode),
            })
        })
        .collect()
}

/// The estimate of the geometric mean over tests, of each the values by process and repetition. Repetition by repetition:
/// the same process' luck, and the same minute's, is in all of them, so the means of repetitions are samples of the mean.
/// A repetition that one of the tests lacks has none.
fn geometric_mean(tests: &[BTreeMap<(usize, usize), f64>]) -> Option<Estimate> {
    let mut processes: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for repetition in tests.first()?.keys() {
        let logs = tests.iter().map(|test| Some(test.get(repetition)?.ln()));
        if let Some(sum) = logs.sum::<Option<f64>>() {
            let of_process = processes.entry(repetition.0).or_default();
            of_process.push((sum / tests.len() as f64).exp());
        }
    }
    Estimate::of_processes(&processes.into_values().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use mlxbench_core::results::Timeline;

    use super::*;
    use crate::fixture::{chat_sample, result, target};

    #[test]
    fn turns_have_medians_over_repetitions() {
        let first = chat_sample(&[&[400, 410], &[50, 60]]);
        let mut second = chat_sample(&[&[420, 430], &[70, 80]]);
        let test = first.test;
        second.turns.as_mut().unwrap().turns[1].read_tokens = 20;
        let figures = ChatFigures::of(&result(vec![first, second]), &target(), &test).unwrap();
        let times: Vec<_> = figures.turns.iter().map(|turn| turn.ttft_ns).collect();
        assert_eq!(times, [Some(410.0), Some(60.0)]);
        assert_eq!(figures.read_again_tokens, 10);
        assert_eq!(figures.warm_ttft_ns.unwrap().median, 60.0);
    }

    #[test]
    fn the_memory_of_a_turn_is_the_frameworks_count_or_else_the_process() {
        let mut sample = chat_sample(&[&[400, 410], &[50, 60]]);
        let test = sample.test;
        // The turns end at 410 and 470: looks 0 to 6 are up to the first one's end, look 7 up to the second's.
        sample.timeline = Some(Timeline {
            every_ns: Nanos(60),
            memory_bytes: vec![5, 5, 6, 5, 5, 5, 5, 8, 9],
        });
        let memory = |sample: &Sample| -> Vec<Option<TurnMemory>> {
            let result = result(vec![sample.clone()]);
            let figures = ChatFigures::of(&result, &target(), &test).unwrap();
            figures.turns.iter().map(|turn| turn.memory).collect()
        };
        let both = |of, bytes: [u64; 2]| bytes.map(|bytes| Some(TurnMemory { bytes, of }));
        assert_eq!(memory(&sample), both(MemoryOf::Process, [6, 8]));
        let turns = sample.turns.as_mut().unwrap().turns.iter_mut();
        for (turn, bytes) in turns.zip([3, 4]) {
            turn.device_peak_bytes = Some(bytes);
        }
        assert_eq!(memory(&sample), both(MemoryOf::Framework, [3, 4]));
        sample.turns.as_mut().unwrap().turns[0].device_peak_bytes = None;
        sample.timeline = None;
        assert_eq!(memory(&sample)[0], None);
    }

    fn named(name: &str, turns: &[&[u64]]) -> Sample {
        let mut sample = chat_sample(turns);
        let mut test = *sample.test.as_chat().unwrap();
        test.conversation = Some(name.parse().unwrap());
        sample.test = test.into();
        sample
    }

    #[test]
    fn kinds_count_alike_in_their_geometric_mean() {
        let (short, long) = (
            named("short", &[&[10, 20], &[40, 50]]),
            named("long", &[&[10, 20], &[160, 170]]),
        );
        let mut both = result(vec![short.clone(), long.clone()]);
        both.run.tests = vec![short.test, long.test];
        let found = conversations(&both);
        let [both] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(both.names, ["short", "long"]);
        assert!((both.warm_ttft_ns.unwrap().median - 80.0).abs() < 1e-9);
        assert!(conversations(&result(vec![short])).is_empty());
    }

    /// Values of processes with a repetition each.
    fn by_process(values: &[(usize, f64)]) -> BTreeMap<(usize, usize), f64> {
        let keyed = values
            .iter()
            .map(|&(process, value)| ((process, process), value));
        keyed.collect()
    }

    #[test]
    fn the_mean_has_an_interval_over_processes() {
        let by = |by: f64| by_process(&[(0, 1.0 * by), (1, 1.2 * by), (2, 1.1 * by)]);
        let mean = geometric_mean(&[by(1.0), by(4.0)]).unwrap();
        assert!((mean.median - 2.2).abs() < 1e-9);
        let interval = mean.interval.unwrap();
        assert!(interval.low < mean.median && mean.median < interval.high);
    }

    #[test]
    fn the_mean_is_of_what_one_process_measured() {
        // The second test's process 1 died, and another took its place.
        let first = by_process(&[(0, 1.0), (1, 100.0), (2, 1.0)]);
        let second = by_process(&[(0, 4.0), (2, 4.0), (3, 1000.0)]);
        let mean = geometric_mean(&[first, second]).unwrap();
        assert_eq!((mean.median, mean.n), (2.0, 2));
    }
}
