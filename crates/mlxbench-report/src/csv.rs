//! Every repetition's raw figures: one line a repetition, then one line a failure.

use std::collections::{BTreeMap, BTreeSet};

use mlxbench_analysis::metrics;
use mlxbench_analysis::quantisation::cost_of;
use mlxbench_analysis::roofline::{mbu_per_rate, mfu_per_rate};
use mlxbench_analysis::serving;
use mlxbench_core::Nanos;
use mlxbench_core::converse::Turn;
use mlxbench_core::results::{
    ClockRange, Failure, RunResult, Sample, ServedRequest, TargetFacts, TargetId, Test, Turns,
};

/// The columns. Figures are empty in a line of a failure, `failure` in a line of a repetition; `process` in
/// older results.
const COLUMNS: [&str; 66] = [
    "run",
    "started",
    "model",
    "mlxbench_version",
    "mlxbench_commit",
    "profile",
    "os",
    "arch",
    "cpu",
    "mode",
    "backend",
    "device",
    "dtype",
    "framework",
    "framework_version",
    "threads",
    "test",
    "prompt_tokens",
    "generate_tokens",
    "depth",
    "batch",
    "repetition",
    "process",
    "started_at",
    "wall_ns",
    "finite",
    "ttft_ns",
    "tpot_ns",
    "end_to_end_ns",
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "mfu",
    "mbu",
    "peak_memory_bytes",
    "device_peak_bytes",
    "energy_joules",
    "attempt",
    "throttled",
    "counts",
    "clock_mhz",
    "memory_clock_mhz",
    "max_temperature_celsius",
    "device_watts",
    "throttled_share",
    "fidelity_text",
    "fidelity_positions",
    "fidelity_mean_kl",
    "fidelity_p99_kl",
    "fidelity_same_top_positions",
    "perplexity",
    "perplexity_standard_error",
    "full_precision_perplexity",
    "full_precision_perplexity_standard_error",
    "fidelity_note",
    "training_tokens_per_second",
    "training_step_ns",
    "turns",
    "warm_ttft_ns",
    "cold_ttft_ns",
    "overall_tokens_per_second",
    "read_again_tokens",
    "turn_ttft_ns",
    "output_tokens_per_second",
    "goodput_requests_per_second",
    "requests",
    "failed_requests",
];

/// The columns of a failure, after [`COLUMNS`].
const FAILURE_COLUMNS: [&str; 2] = ["failure", "failure_message"];

type Line = BTreeMap<&'static str, String>;

/// The header, then the lines of each result.
pub(crate) fn render(results: &[RunResult]) -> Vec<u8> {
    let columns = || COLUMNS.iter().chain(&FAILURE_COLUMNS);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |fields: Vec<String>| {
        writer
            .write_record(fields)
            .expect("a Vec takes every write, and all lines have the same columns");
    };
    write(columns().map(|&name| name.to_owned()).collect());
    for line in results.iter().flat_map(lines) {
        let field = |name| line.get(name).map(|text| guard(text)).unwrap_or_default();
        write(columns().map(field).collect());
    }
    writer.into_inner().expect("a Vec takes every write")
}

fn lines(result: &RunResult) -> impl Iterator<Item = Line> {
    let mut cases: Vec<Case> = Vec::new();
    let samples = result.samples.iter().map(move |sample| {
        let known = |case: &&Case| case.target == sample.target && case.test == sample.test;
        if let Some(case) = cases.iter().find(known) {
            return of_sample(case, sample);
        }
        let case = Case::of(result, sample);
        let line = of_sample(&case, sample);
        cases.push(case);
        line
    });
    let failures = result
        .failures
        .iter()
        .map(|failure| of_failure(result, failure));
    samples.chain(failures)
}

/// What all repetitions of a case have in common.
struct Case {
    target: TargetId,
    test: Test,
    line: Line,
    mfu_per_rate: Option<f64>,
    mbu_per_rate: Option<f64>,
    /// Repetition and attempt of each measurement that the figures are made of.
    counted: BTreeSet<(usize, usize)>,
}

impl Case {
    fn of(result: &RunResult, Sample { target, test, .. }: &Sample) -> Self {
        Self {
            target: target.clone(),
            test: *test,
            line: of_case(result, target, Some(test))
                .into_iter()
                .chain(fidelity(result, target))
                .collect(),
            mfu_per_rate: mfu_per_rate(result, target, test),
            mbu_per_rate: mbu_per_rate(result, target, test),
            counted: result.samples_of(target, test).map(of_repetition).collect(),
        }
    }
}

/// So many of a sample's requests to a server; `None` where it has none.
fn requests(sample: &Sample, which: fn(&ServedRequest) -> bool) -> Option<String> {
    let counted = sample.requests.iter().filter(|request| which(request));
    (!sample.requests.is_empty()).then(|| counted.count().to_string())
}

fn of_repetition(sample: &Sample) -> (usize, usize) {
    (sample.repetition, sample.attempt)
}

fn of_sample(case: &Case, sample: &Sample) -> Line {
    let mut line = case.line.clone();
    let nanos = |time: Option<Nanos>| time.map(|time| time.0.to_string());
    let number = |value: Option<f64>| value.map(|value| value.to_string());
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes.to_string());
    let mhz = |clock: Option<ClockRange>| clock.map(|clock| clock.median.to_string());
    let told = sample.conditions.as_ref();
    let (prefill, decode) = (metrics::prefill_rate(sample), metrics::decode_rate(sample));
    let figures = [
        ("repetition", Some(sample.repetition.to_string())),
        ("process", sample.process.map(|number| number.to_string())),
        ("finite", Some(sample.finite.to_string())),
        ("started_at", sample.started.map(|time| time.to_string())),
        ("wall_ns", nanos(sample.wall_ns)),
        (
            "ttft_ns",
            nanos(metrics::ttft(sample)).or_else(|| number(serving::median_ttft(sample))),
        ),
        (
            "tpot_ns",
            number(metrics::tpot(sample).or_else(|| serving::median_tpot(sample))),
        ),
        ("end_to_end_ns", nanos(metrics::end_to_end(sample))),
        ("prefill_tokens_per_second", number(prefill)),
        ("decode_tokens_per_second", number(decode)),
        (
            "mfu",
            number(
                prefill
                    .zip(case.mfu_per_rate)
                    .map(|(rate, share)| rate * share),
            ),
        ),
        (
            "mbu",
            number(
                decode
                    .zip(case.mbu_per_rate)
                    .map(|(rate, share)| rate * share),
            ),
        ),
        ("peak_memory_bytes", bytes(sample.peak_memory_bytes)),
        ("device_peak_bytes", bytes(sample.device_peak_bytes)),
        ("energy_joules", number(sample.energy_joules)),
        ("attempt", Some(sample.attempt.to_string())),
        ("throttled", Some(sample.throttled.to_string())),
        (
            "counts",
            Some(case.counted.contains(&of_repetition(sample)).to_string()),
        ),
        ("clock_mhz", mhz(told.and_then(|told| told.clock_mhz))),
        (
            "memory_clock_mhz",
            mhz(told.and_then(|told| told.memory_clock_mhz)),
        ),
        (
            "training_tokens_per_second",
            number(metrics::training_rate(sample)),
        ),
        ("training_step_ns", number(metrics::training_step(sample))),
        ("warm_ttft_ns", number(metrics::warm_ttft(sample))),
        (
            "overall_tokens_per_second",
            number(metrics::overall_rate(sample)),
        ),
        (
            "output_tokens_per_second",
            number(serving::throughput(sample)),
        ),
        (
            "goodput_requests_per_second",
            number(serving::goodput(sample)),
        ),
        ("requests", requests(sample, |_| true)),
        (
            "failed_requests",
            requests(sample, |one| one.error.is_some()),
        ),
        (
            "max_temperature_celsius",
            number(told.and_then(|told| told.max_temperature_celsius)),
        ),
        (
            "device_watts",
            number(told.and_then(|told| told.mean_watts)),
        ),
        (
            "throttled_share",
            number(told.and_then(|told| told.throttled_share)),
        ),
    ];
    let known = figures
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    line.extend(known);
    line.extend(sample.turns.iter().flat_map(turns));
    line
}

/// What a conversation has beside the figures of every line; of each turn its time to first token.
fn turns(turns: &Turns) -> [(&'static str, String); 4] {
    let again = |turn: &Turn| turn.read_tokens.saturating_sub(turn.new_tokens);
    let first = turns.turns.iter().filter_map(|turn| turn.token_ns.first());
    let first: Vec<String> = first.map(|time| time.0.to_string()).collect();
    let read_again: usize = turns.turns.iter().map(again).sum();
    [
        ("turns", turns.turns.len().to_string()),
        ("cold_ttft_ns", turns.cold_ttft_ns.0.to_string()),
        ("read_again_tokens", read_again.to_string()),
        ("turn_ttft_ns", first.join(" ")),
    ]
}

fn of_failure(result: &RunResult, failure: &Failure) -> Line {
    let mut line = of_case(result, &failure.target, failure.test.as_ref());
    line.insert("failure", failure.kind.name().to_owned());
    line.insert("failure_message", failure.message.clone());
    line
}

/// What repetitions and failures of a case have in common.
fn of_case(result: &RunResult, target: &TargetId, test: Option<&Test>) -> Line {
    let run = &result.run;
    let mut line = Line::from([
        ("run", run.name.clone()),
        ("started", run.started.to_string()),
        ("model", run.model.name.clone()),
        ("mlxbench_version", run.mlxbench.version.clone()),
        (
            "mlxbench_commit",
            run.mlxbench.commit.clone().unwrap_or_default(),
        ),
        ("profile", run.mlxbench.profile.clone()),
        ("os", run.machine.os.clone()),
        ("arch", run.machine.arch.clone()),
        ("cpu", run.machine.cpu.clone()),
        ("backend", target.backend.clone()),
        ("device", target.placement.device.to_string()),
        ("dtype", target.placement.precision.to_string()),
    ]);
    if let Some(TargetFacts {
        identity, threads, ..
    }) = result.targets.iter().find(|facts| facts.id == *target)
    {
        line.insert("framework", identity.framework.clone());
        line.insert("framework_version", identity.version.clone());
        line.insert("threads", threads.to_string());
    }
    if let Some(test) = test {
        line.insert("test", test.to_string());
        line.insert("prompt_tokens", test.prompt_tokens().to_string());
        line.insert("generate_tokens", test.generate_tokens().to_string());
        line.insert("depth", test.depth().to_string());
        line.insert("batch", test.rows().to_string());
        line.insert("mode", test.mode().name().to_owned());
    }
    line
}

/// What quantising as a target's weights are costs; nothing where they aren't quantised.
fn fidelity(result: &RunResult, target: &TargetId) -> Line {
    let cost = cost_of(result, target);
    let mut line = Line::new();
    if let Some(figures) = cost.as_ref().and_then(|cost| cost.figures.as_ref()) {
        let (own, full) = (&figures.perplexity, &figures.full_perplexity);
        line.extend([
            ("fidelity_text", figures.text.clone()),
            ("fidelity_positions", figures.positions.to_string()),
            ("fidelity_mean_kl", figures.mean_kl.to_string()),
            ("fidelity_p99_kl", figures.p99_kl.to_string()),
            (
                "fidelity_same_top_positions",
                figures.same_top_positions.to_string(),
            ),
            ("perplexity", own.value.to_string()),
            ("perplexity_standard_error", own.standard_error.to_string()),
            ("full_precision_perplexity", full.value.to_string()),
            (
                "full_precision_perplexity_standard_error",
                full.standard_error.to_string(),
            ),
        ]);
    }
    let note = cost.and_then(|cost| cost.reason);
    line.extend(note.map(|note| ("fidelity_note", note)));
    line
}

/// A cell that no spreadsheet takes for a formula: a quote before what would begin one (OWASP,
/// "CSV Injection"). Our own numbers never begin so.
fn guard(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_text() {
        assert_eq!(guard("=1+1"), "'=1+1");
        assert_eq!(guard("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(guard("gemma-3"), "gemma-3");
    }
}
