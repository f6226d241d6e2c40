//! A row's figures under the names by which other programs keep them.

use mlxbench_analysis::{Estimate, Row};

/// In which tables a figure has a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// In those of all tests.
    Always,
    /// In those that have a row with it: of some kinds of test.
    OfKind,
    /// In none: tables have no room for all.
    Never,
}

/// A figure that a program outside follows.
pub(crate) struct Figure {
    /// Its name where no space may be.
    pub(crate) slug: &'static str,
    /// Its name for people.
    pub(crate) name: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Whether more of it is better.
    pub(crate) higher_is_better: bool,
    /// Where it is a column.
    pub(crate) column: Column,
    of: fn(&Row) -> Option<Estimate>,
}

impl Figure {
    /// A row's, where it was measured.
    pub(crate) fn of(&self, row: &Row) -> Option<Estimate> {
        let measured = row.repetitions > 0;
        let estimate = measured.then(|| (self.of)(row)).flatten();
        estimate.filter(|estimate| estimate.median.is_finite())
    }
}

const fn rate(
    slug: &'static str,
    name: &'static str,
    column: Column,
    of: fn(&Row) -> Option<Estimate>,
) -> Figure {
    Figure {
        slug,
        name,
        unit: "tokens/s",
        higher_is_better: true,
        column,
        of,
    }
}

const fn cost(
    slug: &'static str,
    name: &'static str,
    unit: &'static str,
    column: Column,
    of: fn(&Row) -> Option<Estimate>,
) -> Figure {
    Figure {
        slug,
        name,
        unit,
        higher_is_better: false,
        column,
        of,
    }
}

/// The figures of every kind of test. A row has those of its own.
pub(crate) const FIGURES: [Figure; 11] = [
    rate(
        "prefill-tokens-per-second",
        "prefill",
        Column::Always,
        |row| row.prefill_tokens_per_second,
    ),
    rate(
        "decode-tokens-per-second",
        "decode",
        Column::Always,
        |row| row.decode_tokens_per_second,
    ),
    rate(
        "overall-tokens-per-second",
        "overall",
        Column::OfKind,
        |row| row.chat.as_ref()?.overall_tokens_per_second,
    ),
    rate(
        "trained-tokens-per-second",
        "training",
        Column::OfKind,
        |row| row.trained_tokens_per_second,
    ),
    rate(
        "throughput-tokens-per-second",
        "throughput",
        Column::OfKind,
        |row| row.serving.as_ref()?.output_tokens_per_second,
    ),
    Figure {
        slug: "goodput-requests-per-second",
        name: "goodput",
        unit: "requests/s",
        higher_is_better: true,
        column: Column::OfKind,
        of: |row| row.serving.as_ref()?.goodput_requests_per_second,
    },
    cost("ttft-ms", "TTFT", "ms", Column::Always, |row| {
        Some(row.ttft_ns?.scaled(1e-6))
    }),
    cost("warm-ttft-ms", "warm TTFT", "ms", Column::OfKind, |row| {
        Some(row.chat.as_ref()?.warm_ttft_ns?.scaled(1e-6))
    }),
    cost(
        "peak-memory-mib",
        "peak memory",
        "MiB",
        Column::Always,
        |row| Some(alone(row, row.peak_bytes()? as f64 / f64::from(1 << 20))),
    ),
    cost(
        "joules-per-token",
        "energy",
        "J/token",
        Column::Never,
        |row| row.joules_per_token,
    ),
    // No speed of quantised weights without what they cost.
    cost(
        "mean-kl",
        "mean KL divergence",
        "nats",
        Column::Never,
        |row| {
            let cost = row.quantisation_cost.as_ref()?;
            Some(alone(row, cost.figures.as_ref()?.mean_kl))
        },
    ),
];

/// One value of all repetitions.
fn alone(row: &Row, value: f64) -> Estimate {
    Estimate {
        median: value,
        interval: None,
        n: row.repetitions,
    }
}

/// The figures that a row has, with what each is.
pub(crate) fn figures(row: &Row) -> impl Iterator<Item = (&'static Figure, Estimate)> {
    FIGURES
        .iter()
        .filter_map(|figure| Some((figure, figure.of(row)?)))
}
