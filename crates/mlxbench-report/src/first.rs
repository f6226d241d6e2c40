//! What a report says first: where its figures hold, a row for each framework and precision, and how sure it is.

use mlxbench_analysis::{ChatFigures, Estimate, Row, Unfit, standings};
use mlxbench_core::lora::LoraModules;
use mlxbench_core::results::{LoraTest, Metric, RunResult, ServeTest, Test, Verdict};

use crate::charts::{Better, grouped};
use crate::machine::{on_mac, processors, short};
use crate::quantisation::fidelity_in_short;
use crate::race::{DECODE, PREFILL, Race, Rate, TRAINING};
use crate::warnings::warnings;
use crate::{Digest, units};

/// What must be known before any figure: one sentence each, without its end.
pub(crate) fn banner(result: &RunResult) -> Vec<String> {
    let run = &result.run;
    let machine = &run.machine;
    let cores = machine.physical_cores.unwrap_or(machine.logical_cores);
    let elsewhere = (!on_mac(result)).then(|| {
        let mut devices = run.targets.iter().map(|target| &target.placement.device);
        let unnamed =
            devices.any(|device| device.kind() == "cuda") && processors(result) == machine.cpu;
        let gpu = if unnamed { " with a CUDA GPU" } else { "" };
        let os = machine.os.split(' ').next().unwrap_or_default();
        let name = short(result);
        format!("Measured on {name}{gpu} ({cores} CPU cores, {os}): says nothing about Macs")
    });
    let shapes = run.model.source.strip_prefix("synthetic:");
    let random = shapes.map(|name| {
        let name = name.split('@').next().unwrap_or_default();
        format!("Random weights in the shapes of {name}: the same work as with real ones, and the text means nothing")
    });
    let debug = (run.mlxbench.profile == "debug")
        .then(|| "Built without optimisation: the figures mean little".to_owned());
    let unfinished = result
        .finished
        .is_none()
        .then(|| "The run was cut short".to_owned());
    [elsewhere, random, debug, unfinished]
        .into_iter()
        .flatten()
        .collect()
}

/// The columns of the compact table, with the one of fidelity only where weights are quantised.
const COLUMNS: [&str; 6] = [
    "generate t/s",
    "prompt t/s",
    "TTFT",
    "memory",
    "same work",
    "fidelity",
];

/// The same of trainings.
const TRAINING_COLUMNS: [&str; 5] = ["trained t/s", "a step", "memory", "same work", "fidelity"];

/// The same of servers, whose memory isn't ours to see.
const SERVING_COLUMNS: [&str; 7] = [
    "output t/s",
    "TTFT",
    "t/s per request",
    "goodput req/s",
    "failed",
    "same work",
    "fidelity",
];

/// The same of conversations.
const CHAT_COLUMNS: [&str; 8] = [
    "overall t/s",
    "generate t/s",
    "first TTFT",
    "warm TTFT",
    "cold TTFT",
    "memory",
    "same work",
    "fidelity",
];

/// A row for each framework and precision.
pub(crate) struct Compact {
    pub(crate) columns: Vec<&'static str>,
    /// How many of them, from the first on, hold figures.
    pub(crate) figures: usize,
    pub(crate) lines: Vec<Line>,
}

impl Compact {
    /// Whether any rate is marked as not steady.
    pub(crate) fn has_unsteady(&self) -> bool {
        let mut rates = self.lines.iter().filter_map(|line| line.cells.first());
        rates.any(|cell| cell.words.ends_with('*'))
    }
}

/// One target in one test.
pub(crate) struct Line {
    /// Which target: `candle/cpu/f32`.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) test: Test,
    /// One a column.
    pub(crate) cells: Vec<Cell>,
    /// Why there are no figures; empty where there are.
    pub(crate) fault: String,
}

/// A figure in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) words: String,
    /// Whether it is the best of its precision, or can't be told from it.
    pub(crate) best: bool,
}

/// `tests` by their kind, each of which has a table: generations, conversations, trainings, servers.
pub(crate) fn by_kind(tests: &[Test]) -> Vec<Vec<Test>> {
    let place = |test: &Test| match test {
        Test::Generate(_) => 0,
        Test::Chat(_) => 1,
        Test::Lora(_) => 2,
        Test::Serve(_) => 3,
    };
    let mut tests = tests.to_vec();
    tests.sort_by_key(place);
    let kinds = tests.chunk_by(|a, b| place(a) == place(b));
    kinds.map(<[Test]>::to_vec).collect()
}

/// The rows of `tests`, which are of one kind, those of one test together: the fastest precision first, and within
/// each the fastest target.
pub(crate) fn compact(digest: &Digest<'_>, tests: &[Test]) -> Compact {
    let rows = &digest.summary.rows;
    let quantised = rows.iter().any(|row| row.quantisation_cost.is_some());
    let all = match tests.first() {
        Some(Test::Lora(_)) => &TRAINING_COLUMNS[..],
        Some(Test::Serve(_)) => &SERVING_COLUMNS[..],
        Some(Test::Chat(_)) => &CHAT_COLUMNS[..],
        Some(Test::Generate(_)) | None => &COLUMNS[..],
    };
    let columns = &all[..all.len() - usize::from(!quantised)];
    let lines = tests
        .iter()
        .flat_map(|test| of_test(digest, test, columns.len()));
    Compact {
        lines: lines.collect(),
        columns: columns.to_vec(),
        figures: all.len() - 2,
    }
}

fn of_test(digest: &Digest<'_>, test: &Test, columns: usize) -> Vec<Line> {
    let rows = digest.summary.rows.iter().filter(|row| row.test == *test);
    let rate = |row: &Row| {
        let serving = row.serving.as_ref();
        serving
            .and_then(|serving| serving.output_tokens_per_second)
            .or(row.decode_tokens_per_second)
            .or(row.prefill_tokens_per_second)
            .or(row.trained_tokens_per_second)
    };
    let figures = rows.map(|row| (row, rate(row))).collect();
    let precisions = grouped(digest, figures, Better::Higher, |rate| rate.median);
    let generate = first_places(digest, test, &DECODE);
    let prompt = first_places(digest, test, &PREFILL);
    let trains = first_places(digest, test, &TRAINING);
    let lines = precisions.iter().flat_map(|(_, rows)| {
        let held = rows
            .iter()
            .filter(|(row, _)| digest.worthless(row).is_none());
        let held: Vec<u64> = held.filter_map(|(row, _)| row.peak_bytes()).collect();
        let least = held.iter().min().copied().filter(|_| held.len() > 1);
        rows.iter().map(move |(row, _)| (*row, least))
    });
    let lines = lines.map(|(row, least)| {
        let is_first = |places: &[&Row]| places.iter().any(|first| first.target == row.target);
        let cell = |words: Option<String>, best| Cell {
            words: words.unwrap_or_default(),
            best,
        };
        let marked = |rate: Estimate| match digest.unfit(row) {
            Some(Unfit::Unsteady { .. }) => format!("{}*", units::rate(&rate)),
            _ => units::rate(&rate),
        };
        let peak = row.peak_bytes();
        let time = |time: Option<Estimate>| time.map(|time| units::time(time.median));
        let rates = match test {
            Test::Generate(_) => vec![
                cell(
                    row.decode_tokens_per_second.map(marked),
                    is_first(&generate),
                ),
                cell(
                    row.prefill_tokens_per_second.map(|rate| units::rate(&rate)),
                    is_first(&prompt),
                ),
                cell(time(row.ttft_ns), is_first(&prompt)),
            ],
            Test::Serve(_) => {
                let serving = row.serving.as_ref();
                let output = serving.and_then(|serving| serving.output_tokens_per_second);
                let good = serving.and_then(|serving| serving.goodput_requests_per_second);
                let failed =
                    serving.map(|serving| format!("{}/{}", serving.failed, serving.requests));
                vec![
                    cell(output.map(marked), false),
                    cell(time(row.ttft_ns), false),
                    cell(
                        row.decode_tokens_per_second.map(|rate| units::rate(&rate)),
                        false,
                    ),
                    cell(good.map(|rate| units::rate(&rate)), false),
                    cell(failed, false),
                ]
            }
            Test::Chat(_) => {
                let chat = row.chat.as_ref();
                let of = |figure: fn(&ChatFigures) -> Option<Estimate>| chat.and_then(figure);
                vec![
                    cell(of(|chat| chat.overall_tokens_per_second).map(marked), false),
                    cell(
                        row.decode_tokens_per_second.map(|rate| units::rate(&rate)),
                        is_first(&generate),
                    ),
                    cell(time(row.ttft_ns), false),
                    cell(time(of(|chat| chat.warm_ttft_ns)), false),
                    cell(time(of(|chat| chat.cold_ttft_ns)), false),
                ]
            }
            Test::Lora(_) => vec![
                cell(row.trained_tokens_per_second.map(marked), is_first(&trains)),
                cell(time(row.training_step_ns), is_first(&trains)),
            ],
        };
        let memory = test.yields(Metric::PeakMemory);
        let memory = memory.then(|| cell(peak.map(units::bytes), peak.is_some() && peak == least));
        let others = [
            cell(work(digest, row), false),
            cell(Some(fidelity(row)), false),
        ];
        let cells = rates.into_iter().chain(memory).chain(others);
        let measured = row.repetitions > 0;
        Line {
            key: row.target.to_string(),
            name: digest.name(&row.target).to_string(),
            test: *test,
            cells: cells.take(columns).collect(),
            fault: if measured {
                String::new()
            } else {
                digest.why_not(row)
            },
        }
    });
    lines.collect()
}

/// Whoever leads in a precision that several targets share, or can't be told from the leader.
fn first_places<'a>(digest: &'a Digest<'_>, test: &Test, rate: &Rate) -> Vec<&'a Row> {
    let standings = standings(digest.result, &digest.summary, test, rate.metric, rate.of);
    let contested = standings
        .within
        .iter()
        .filter(|leader| !leader.rivals.is_empty());
    contested.flat_map(|leader| leader.first_place()).collect()
}

/// `✓ identical`; `None` where nothing was measured.
fn work(digest: &Digest<'_>, row: &Row) -> Option<String> {
    let known = digest.result.verdict_of(&row.target, &row.test);
    let verdict = known.unwrap_or(Verdict::Unchecked);
    let words = match verdict {
        Verdict::Reference => "reference",
        Verdict::Identical => "✓ identical",
        Verdict::Equivalent => "✓ equivalent",
        Verdict::Different => "✗ different",
        Verdict::Unchecked => "not compared",
    };
    (row.repetitions > 0 || known.is_some()).then(|| words.to_owned())
}

/// What quantised weights cost; of others there is nothing to say.
fn fidelity(row: &Row) -> String {
    match &row.quantisation_cost {
        None => "full precision".into(),
        Some(cost) => fidelity_in_short(cost),
    }
}

/// How sure the answer is, in a few sentences.
pub(crate) fn sureness(digest: &Digest<'_>) -> Vec<String> {
    let race = Race::of(digest, &DECODE).filter(|race| race.fastest().is_some());
    let race = race.or_else(|| Race::of(digest, &PREFILL));
    let race = race.or_else(|| Race::of(digest, &TRAINING));
    let mut said = race.map_or_else(Vec::new, |race| race.sureness());
    let alone = digest
        .summary
        .rows
        .iter()
        .any(|row| row.processes == 1 && row.repetitions > 1);
    let luck = if alone {
        ", so no interval covers the luck of a process"
    } else {
        ""
    };
    said.push(format!("{}{luck}", units::repetitions(digest.result)));
    said
}

/// How many caveats there are, in words; `None` where there is none.
pub(crate) fn caveats(digest: &Digest<'_>) -> Option<String> {
    match warnings(digest).len() {
        0 => None,
        1 => Some("1 caveat".into()),
        several => Some(format!("{several} caveats")),
    }
}

/// A model's name for people: its banner says that its weights are random.
pub(crate) fn model(result: &RunResult) -> &str {
    let name = result.run.model.name.as_str();
    name.strip_prefix("synthetic:").unwrap_or(name)
}

/// `64 prompt tokens, 32 generated, after 4096 in the context, 2 rows`.
pub(crate) fn spelled(test: &Test) -> String {
    match test {
        Test::Generate(_) => {}
        Test::Chat(chat) => return crate::chat::spelled(chat),
        Test::Lora(training) => return of_training(training),
        Test::Serve(serving) => return of_serving(serving),
    }
    let prompt = match test.prompt_tokens() {
        0 => None,
        tokens => Some(format!("{tokens} prompt tokens")),
    };
    let generated = match test.generate_tokens() {
        0 => None,
        tokens => Some(format!("{tokens} generated")),
    };
    let depth = match test.depth() {
        0 => None,
        tokens => Some(format!("after {tokens} in the context")),
    };
    let rows = match test.rows() {
        1 => None,
        rows => Some(format!("{rows} rows")),
    };
    let parts = [prompt, generated, depth, rows].into_iter().flatten();
    parts.collect::<Vec<String>>().join(", ")
}

/// `requests of 512 prompt tokens and up to 128 generated, 4 clients at a time`.
fn of_serving(test: &ServeTest) -> String {
    let ServeTest {
        prompt_tokens,
        generate_tokens,
        concurrency,
        requests,
        ..
    } = test;
    format!(
        "{requests} requests of {prompt_tokens} prompt tokens and up to {generate_tokens} generated, {concurrency} at \
         a time"
    )
}

/// `LoRA steps of 4 rows x 512 tokens, rank 8 on queries and values of the last 16 layers`.
fn of_training(test: &LoraTest) -> String {
    let LoraTest {
        rank,
        layers,
        modules,
        batch,
        tokens,
        gradient_checkpointing,
        ..
    } = test;
    let modules = match modules {
        LoraModules::QueryValue => "queries and values",
        LoraModules::All => "all projections",
    };
    let checkpointing = match gradient_checkpointing {
        true => ", with gradient checkpointing",
        false => "",
    };
    format!(
        "LoRA steps of {batch} x {tokens} tokens, rank {rank} on {modules} of the last {layers} layers{checkpointing}"
    )
}
