//! A row's figures under the names by which other programs keep them.

use mlxbench_analysis::{Estimate, Row};

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
    /// A row's, where it has one.
    pub(crate) of: fn(&Row) -> Option<Estimate>,
}

const fn rate(slug: &'static str, name: &'static str, of: fn(&Row) -> Option<Estimate>) -> Figure {
    Figure {
        slug,
        name,
        unit: "tokens/s",
        higher_is_better: true,
        of,
    }
}

const fn cost(
    slug: &'static str,
    name: &'static str,
    unit: &'static str,
    of: fn(&Row) -> Option<Estimate>,
) -> Figure {
    Figure {
        slug,
        name,
        unit,
        higher_is_better: false,
        of,
    }
}

/// The figures of every kind of test. A row has those of its own.
pub(crate) const FIGURES: [Figure; 11] = [
    rate("prefill-tokens-per-second", "prefill", |row| {
        row.prefill_tokens_per_second
    }),
    rate("decode-tokens-per-second", "decode", |row| {
        row.decode_tokens_per_second
    }),
    rate("overall-tokens-per-second", "conversation", |row| {
        row.chat.as_ref()?.overall_tokens_per_second
    }),
    rate("trained-tokens-per-second", "training", |row| {
        row.trained_tokens_per_second
    }),
    rate("served-tokens-per-second", "served", |row| {
        row.serving.as_ref()?.output_tokens_per_second
    }),
    Figure {
        slug: "goodput-requests-per-second",
        name: "goodput",
        unit: "requests/s",
        higher_is_better: true,
        of: |row| row.serving.as_ref()?.goodput_requests_per_second,
    },
    cost("ttft-ms", "TTFT", "ms", |row| {
        Some(row.ttft_ns?.scaled(1e-6))
    }),
    cost("warm-ttft-ms", "warm TTFT", "ms", |row| {
        Some(row.chat.as_ref()?.warm_ttft_ns?.scaled(1e-6))
    }),
    cost("peak-memory-mib", "peak memory", "MiB", |row| {
        Some(alone(row, row.peak_bytes()? as f64 / f64::from(1 << 20)))
    }),
    cost("joules-per-token", "energy", "J/token", |row| {
        row.joules_per_token
    }),
    // No speed of quantised weights without what they cost.
    cost("mean-kl", "mean KL divergence", "nats", |row| {
        let cost = row.quantisation_cost.as_ref()?;
        Some(alone(row, cost.figures.as_ref()?.mean_kl))
    }),
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
    let measured = row.repetitions > 0;
    let known = FIGURES.iter().filter(move |_| measured);
    known.filter_map(|figure| {
        let estimate = (figure.of)(row)?;
        estimate.median.is_finite().then_some((figure, estimate))
    })
}
