//! Rates against lengths: of the prompt, the generation, the context; with marked jumps.

use mlxbench_analysis::smooth::FEWEST_LENGTHS;
use mlxbench_analysis::sweeps::{Figure, Length};
use mlxbench_analysis::{Estimate, Row};
use mlxbench_core::results::{Metric, Test};

use super::{lines, point, rings};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Point, Scale};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// A rate against a length.
struct Against {
    /// The stem of its file.
    name: &'static str,
    title: &'static str,
    caption: &'static str,
    /// What is on the axis of lengths.
    axis: &'static str,
    /// Its tokens in a test.
    tokens: fn(&Test) -> usize,
    /// The lengths that are in it, or that the rate doesn't depend on.
    lengths: &'static [Length],
    /// The fewest different tokens that are worth a chart.
    fewest: usize,
    rate: fn(&Row) -> Option<Estimate>,
    /// The rate's name where it jumps.
    figure: Figure,
}

const DECODE_BY_CONTEXT: Against = Against {
    name: "decode-by-context",
    title: "Generation speed against context",
    caption: "Each step reads the keys and values of all tokens before it, so a longer context costs \
              memory bandwidth.",
    axis: "tokens in the context when decode starts",
    tokens: Test::context,
    lengths: &[Length::PromptTokens, Length::Depth],
    fewest: 2,
    rate: |row| row.decode_tokens_per_second,
    figure: Figure::DecodeTokensPerSecond,
};

const DECODE_BY_GENERATION: Against = Against {
    name: "decode-by-generation",
    title: "Generation speed against generated tokens",
    caption: "A longer generation ends with a longer context, and spreads what its first steps cost.",
    axis: "generated tokens",
    tokens: Test::generate_tokens,
    lengths: &[Length::GenerateTokens],
    fewest: FEWEST_LENGTHS,
    rate: |row| row.decode_tokens_per_second,
    figure: Figure::DecodeTokensPerSecond,
};

const PREFILL_BY_PROMPT: Against = Against {
    name: "prefill-by-prompt",
    title: "Prompt speed against prompt length",
    caption: "The rate rises until a prompt keeps the device busy, and falls where attention to a long \
              prompt costs more than the weights' products.",
    axis: "prompt tokens",
    tokens: Test::prompt_tokens,
    lengths: &[Length::PromptTokens, Length::GenerateTokens],
    fewest: FEWEST_LENGTHS,
    rate: prefill_rate,
    figure: Figure::PrefillTokensPerSecond,
};

const PREFILL_BY_CONTEXT: Against = Against {
    name: "prefill-by-context",
    title: "Prompt speed against context",
    caption: "Each token of a prompt attends to all tokens before it, those in the cache too.",
    axis: "tokens in the context when the prompt is read",
    tokens: Test::context,
    lengths: &[Length::Depth, Length::GenerateTokens],
    fewest: FEWEST_LENGTHS,
    rate: prefill_rate,
    figure: Figure::PrefillTokensPerSecond,
};

fn prefill_rate(row: &Row) -> Option<Estimate> {
    row.prefill_tokens_per_second
        .filter(|_| row.test.yields(Metric::Prefill))
}

/// Each rate against each length that the run has enough of.
pub(super) fn charts(digest: &Digest<'_>, palette: &Palette) -> Vec<Chart> {
    let all = [
        DECODE_BY_CONTEXT,
        DECODE_BY_GENERATION,
        PREFILL_BY_PROMPT,
        PREFILL_BY_CONTEXT,
    ];
    let charts = all.iter();
    charts
        .filter_map(|against| chart(digest, palette, against))
        .collect()
}

fn chart(digest: &Digest<'_>, palette: &Palette, against: &Against) -> Option<Chart> {
    let tokens = |test: &Test| (against.tokens)(test) as f64;
    let kind = |test: &Test| kind(digest, test, against.lengths);
    let mut series = lines(digest, palette, kind, |row| {
        Some(point(tokens(&row.test), (against.rate)(row)?))
    });
    series.retain(|line| different(&line.points) >= against.fewest);
    if series.is_empty() {
        return None;
    }
    let sweeps = digest.summary.sweeps.iter();
    let sweeps = sweeps.filter(|sweep| against.lengths.contains(&sweep.length));
    let jumps = sweeps.flat_map(|sweep| &sweep.jumps);
    let jumps = jumps.filter(|jump| jump.figure == against.figure);
    let jumps = jumps.map(|jump| Point::new(tokens(&jump.at.test), jump.at.median));
    series.extend(rings("jumps", jumps.collect()));
    Some(Chart {
        name: against.name.into(),
        title: against.title.into(),
        caption: against.caption.into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: against.axis.into(),
                scale: Scale::Doubling,
            },
            y: Axis {
                title: "tokens/s".into(),
                scale: Scale::FromZero,
            },
            series,
        }),
    })
}

/// How many different lengths points have that go from left to right.
fn different(points: &[Point]) -> usize {
    points.chunk_by(|a, b| a.x == b.x).count()
}

/// What tells a test from those on another line: its conditions, and the lengths that aren't `on_axis`
/// where the run has several.
fn kind(digest: &Digest<'_>, test: &Test, on_axis: &[Length]) -> String {
    let off_axis = Length::ALL.into_iter();
    let off_axis = off_axis.filter(|length| !on_axis.contains(length));
    let several = off_axis.filter(|length| {
        let mut tests = digest.result.run.tests.iter();
        tests.any(|other| length.of(other) != length.of(test))
    });
    let lengths = several.map(|length| match (length, length.of(test)) {
        (_, 0) => String::new(),
        (Length::PromptTokens, tokens) => format!(" pp{tokens}"),
        (Length::GenerateTokens, tokens) => format!(" tg{tokens}"),
        (Length::Depth, tokens) => format!(" @ d{tokens}"),
    });
    lengths.chain([test.conditions()]).collect()
}
