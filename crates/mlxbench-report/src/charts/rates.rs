//! Decode and prefill rate by target: the repetitions, with the median's interval.

use mlxbench_analysis::{Estimate, Row, metrics};
use mlxbench_core::results::{Metric, Test};

use super::{Better, Figure, by_precision, by_test};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

/// How to read bars with dots.
const READING: &str = "Bars are medians, dots are repetitions, whiskers are 95 % intervals; compare within a \
                       precision. A hollow bar isn't ranked.";

/// How fast tokens are generated in the main test.
pub(super) fn decode(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test_of(Metric::Decode)?;
    let figure = |row: &Row| {
        let rate = row.decode_tokens_per_second?;
        Some(figure(digest, row, rate, Metric::Decode, String::new()))
    };
    let rows = by_precision(digest, palette, &test, "tokens/s", Better::Higher, figure)?;
    Some(Chart {
        name: "decode".into(),
        title: format!("Generation speed, {test}"),
        caption: READING.into(),
        form: Form::Rows(rows),
    })
}

/// How fast prompts are read in the main test, and how long that takes.
pub(super) fn prefill(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test_of(Metric::Prefill)?;
    let figure = |row: &Row| {
        let rate = row.prefill_tokens_per_second?;
        let first = row.ttft_ns.map(|ttft| units::time(ttft.median));
        let first = first.map(|first| format!("TTFT {first}"));
        Some(figure(
            digest,
            row,
            rate,
            Metric::Prefill,
            first.unwrap_or_default(),
        ))
    };
    let rows = by_precision(
        digest,
        palette,
        &test,
        "prompt tokens/s",
        Better::Higher,
        figure,
    )?;
    Some(Chart {
        name: "prefill".into(),
        title: format!("Prompt speed and time to first token, {test}"),
        caption: format!("TTFT runs from submitting the prompt to the first token. {READING}"),
        form: Form::Rows(rows),
    })
}

/// How fast adapters are trained in the first test that trains some.
pub(super) fn training(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test_of(Metric::Training)?;
    let figure = |row: &Row| {
        let rate = row.trained_tokens_per_second?;
        let step = row.training_step_ns.map(|step| units::time(step.median));
        let step = step.map_or_else(String::new, |step| format!("{step} a step"));
        Some(figure(digest, row, rate, Metric::Training, step))
    };
    let rows = by_precision(digest, palette, &test, "tokens/s", Better::Higher, figure)?;
    Some(Chart {
        name: "training".into(),
        title: format!("Training speed, {test}"),
        caption: format!("Tokens of all steps but the first. {READING}"),
        form: Form::Rows(rows),
    })
}

/// The same for each of several tests, with the share of the machine's limit.
pub(super) fn decode_by_test(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let figure = |row: &Row| {
        let rate = generates(&row.test).then_some(row.decode_tokens_per_second)??;
        Some(figure(
            digest,
            row,
            rate,
            Metric::Decode,
            share("MBU", row.mbu),
        ))
    };
    let rows = by_test(digest, palette, "tokens/s", Better::Higher, 2, figure)?;
    Some(Chart {
        name: "decode-by-test".into(),
        title: "Generation speed by test".into(),
        caption: format!("MBU is the share of the measured memory bandwidth. {READING}"),
        form: Form::Rows(rows),
    })
}

/// Likewise.
pub(super) fn prefill_by_test(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let figure = |row: &Row| {
        let rate = reads(&row.test).then_some(row.prefill_tokens_per_second)??;
        Some(figure(
            digest,
            row,
            rate,
            Metric::Prefill,
            share("MFU", row.mfu),
        ))
    };
    let rows = by_test(
        digest,
        palette,
        "prompt tokens/s",
        Better::Higher,
        2,
        figure,
    )?;
    Some(Chart {
        name: "prefill-by-test".into(),
        title: "Prompt speed by test".into(),
        caption: format!("MFU is the share of the measured rate of matrix products. {READING}"),
        form: Form::Rows(rows),
    })
}

fn generates(test: &Test) -> bool {
    test.yields(Metric::Decode)
}

fn reads(test: &Test) -> bool {
    test.yields(Metric::Prefill)
}

fn share(name: &str, share: Option<Estimate>) -> String {
    let share = share.map(|share| format!("{name} {}", units::share(share.median)));
    share.unwrap_or_default()
}

fn figure(
    digest: &Digest<'_>,
    row: &Row,
    rate: Estimate,
    metric: Metric,
    beside: String,
) -> Figure {
    Figure {
        value: rate.median,
        interval: rate.interval,
        dots: metrics::values(metric, digest.result, &row.target, &row.test),
        limit: None,
        words: units::rate(&rate),
        beside,
        timed: true,
    }
}
