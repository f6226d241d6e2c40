//! A row of a table as words, in llama-bench's columns.

use mlxbench_analysis::{Estimate, Row, RowStatus};
use mlxbench_core::backend::{OWN_KERNEL, Reads};
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{RunResult, Verdict};

use crate::checks;
use crate::conditions;
use crate::external::{External, ExternalRow};
use crate::quantisation;
use crate::units;

/// The columns of both tables.
pub(crate) const HEADER: [&str; 14] = [
    "model",
    "backend",
    "device",
    "dtype",
    "threads",
    "test",
    "prefill t/s",
    "MFU",
    "decode t/s",
    "MBU",
    "TTFT",
    "peak memory",
    "work",
    "note",
];

/// Where the model stands in [`HEADER`].
pub(crate) const MODEL: usize = 0;

/// Where backend, device and dtype stand in [`HEADER`].
pub(crate) const TARGET: std::ops::Range<usize> = 1..4;

/// Where the test stands in [`HEADER`].
pub(crate) const TEST: usize = 5;

/// Where the prefill rate stands in [`HEADER`].
pub(crate) const PREFILL: usize = 6;

/// Where the decode rate stands in [`HEADER`].
pub(crate) const DECODE: usize = 8;

/// Where the peak memory stands in [`HEADER`].
pub(crate) const MEMORY: usize = 11;

/// Where the verdict on the work done stands in [`HEADER`].
pub(crate) const WORK: usize = 12;

/// Where the note stands in [`HEADER`].
pub(crate) const NOTE: usize = HEADER.len() - 1;

/// The columns of [`HEADER`] that hold figures.
pub(crate) const FIGURES: std::ops::Range<usize> = 6..12;

/// A row's words, one a column of [`HEADER`].
pub(crate) type Cells = [String; HEADER.len()];

/// The words of one row, empty where there is nothing to say. They are neither escaped nor free of
/// control characters.
pub(crate) fn cells(result: &RunResult, row: &Row) -> Cells {
    let facts = result.targets.iter().find(|facts| facts.id == row.target);
    let rate = |rate: &Option<_>| rate.as_ref().map(units::rate).unwrap_or_default();
    let share = |share: &Option<Estimate>| {
        let share = share.map(|share| units::share(share.median));
        share.unwrap_or_default()
    };
    [
        result.run.model.name.clone(),
        row.target.backend.clone(),
        row.target.placement.device.to_string(),
        row.target.placement.precision.to_string(),
        facts.map(|f| f.threads.to_string()).unwrap_or_default(),
        row.test.to_string(),
        rate(&row.prefill_tokens_per_second),
        share(&row.mfu),
        rate(&row.decode_tokens_per_second),
        share(&row.mbu),
        row.ttft_ns
            .map(|ttft| units::time(ttft.median))
            .unwrap_or_default(),
        row.peak_bytes().map(units::bytes).unwrap_or_default(),
        work(result, row),
        note(result, row),
    ]
}

/// The words of a row that another program measured.
pub(crate) fn external(external: &External, row: &ExternalRow) -> Cells {
    let rate = |rate: &Option<_>| rate.as_ref().map(units::rate).unwrap_or_default();
    let threads = row.threads.map(|threads| threads.to_string());
    let none = String::new;
    [
        row.model.clone(),
        row.backend.clone(),
        row.device.clone(),
        row.dtype.clone(),
        threads.unwrap_or_default(),
        row.test_and_settings(),
        rate(&row.prefill_tokens_per_second),
        none(),
        rate(&row.decode_tokens_per_second),
        none(),
        none(),
        row.peak_memory_bytes.map(units::bytes).unwrap_or_default(),
        "external".into(),
        format!("measured by {}, from {}", external.tool, external.file),
    ]
}

/// Whether a row's target did the reference's work; empty where nothing was measured.
fn work(result: &RunResult, row: &Row) -> String {
    let verdict = match result.verdict_of(&row.target, &row.test) {
        Some(verdict) => verdict,
        None if row.repetitions > 0 => Verdict::Unchecked,
        None => return String::new(),
    };
    verdict.name().into()
}

/// What must be known beside a row's figures: what is wrong with them, and the fidelity of quantised
/// weights. Empty for a row as it should be, of full precision.
pub(crate) fn note(result: &RunResult, row: &Row) -> String {
    let measured = row.repetitions > 0;
    let fidelity = measured.then(|| quantisation::fidelity(row)).flatten();
    let faults = Some(faults(result, row)).filter(|faults| !faults.is_empty());
    let chat = chat(row).into_iter().chain(crate::chat::read_again(row));
    let parts = chat.chain(training(row)).chain(faults).chain(fidelity);
    parts.collect::<Vec<String>>().join("; ")
}

/// The figures of a conversation, likewise.
fn chat(row: &Row) -> Option<String> {
    let chat = row.chat.as_ref()?;
    let (rate, warm) = (chat.overall_tokens_per_second?, chat.warm_ttft_ns);
    let rate = units::rate(&rate);
    let time = |time: Option<Estimate>| time.map(|time| units::time(time.median));
    let warm = time(warm).map(|warm| format!(", warm TTFT {warm}"));
    let cold = time(chat.cold_ttft_ns).map(|cold| format!(", last prompt cold {cold}"));
    let parts = [warm, cold].into_iter().flatten();
    Some(format!(
        "{rate} tokens/s overall{}",
        parts.collect::<String>()
    ))
}

/// The figures of a training, which have no columns of their own beside those of generations.
fn training(row: &Row) -> Option<String> {
    let (rate, step) = (row.trained_tokens_per_second?, row.training_step_ns?);
    let (rate, step) = (units::rate(&rate), units::time(step.median));
    Some(format!("trains at {rate} tokens/s, {step} a step"))
}

/// Why a row's figures are missing, few or worthless; empty for a row as it should be.
pub(crate) fn faults(result: &RunResult, row: &Row) -> String {
    let planned = row.planned_repetitions;
    let measured = match row.repetitions {
        some if (1..planned).contains(&some) => Some(format!("{some} of {planned} repetitions")),
        _ => None,
    };
    let status = match &row.status {
        RowStatus::Ok => None,
        RowStatus::NotFinite => {
            Some("the logits aren't finite: this speed is of no work".to_owned())
        }
        RowStatus::Failed { kind, message } => Some(format!("{}: {message}", kind.name())),
        RowStatus::Missing => Some("not measured".to_owned()),
    };
    let equivalence = result.equivalence_of(&row.target);
    let work = equivalence.and_then(|equivalence| match equivalence.verdict {
        Verdict::Different | Verdict::Unchecked => Some(units::fidelity(equivalence)),
        Verdict::Reference | Verdict::Identical | Verdict::Equivalent => None,
    });
    let own_check = result.check_of(&row.target, &row.test);
    let own_check = own_check.and_then(checks::fault);
    let retried = result.failures_of(&row.target).filter(|failure| {
        failure.retried && (failure.test == Some(row.test) || failure.test.is_none())
    });
    let retried = retried.last().map(|failure| {
        let (kind, message) = (failure.kind.name(), &failure.message);
        format!("{kind} once: {message}")
    });
    let form = has_fallen_back(result, row).then(|| {
        "each token read before the next step: reads wait for all that is queued".to_owned()
    });
    let throttled = row.throttled.as_ref().map(|throttled| {
        let what = conditions::measurements(throttled);
        match throttled.count {
            true => format!("the device was throttled throughout ({what})"),
            false => format!("throttled and left out: {what}"),
        }
    });
    let facts = result.targets.iter().find(|facts| facts.id == row.target);
    let own = facts.into_iter().flat_map(|facts| &facts.kernels);
    let own = own.filter(|(_, way)| way.starts_with(OWN_KERNEL));
    let own = own.map(|(part, way)| format!("{part}: {way}"));
    let parts = measured
        .into_iter()
        .chain(own)
        .chain(status)
        .chain(throttled)
        .chain(retried)
        .chain(work)
        .chain(own_check)
        .chain(form);
    let parts: Vec<String> = parts.collect();
    parts.join("; ")
}

/// Whether steps weren't handed over ahead though the test asks for it and the device could: reads
/// can't tell their own step from the next.
fn has_fallen_back(result: &RunResult, row: &Row) -> bool {
    let facts = result.targets.iter().find(|facts| facts.id == row.target);
    let in_order = facts.is_some_and(|facts| facts.reads == Some(Reads::InOrder));
    let mut samples = result.samples_of(&row.target, &row.test);
    in_order
        && row.test.mode() == Mode::Pipelined
        && samples.any(|sample| sample.form == Some(Mode::Synchronous))
}
