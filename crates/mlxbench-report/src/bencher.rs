//! What Bencher reads with its `json` adapter: Bencher Metric Format, an object of benchmarks, each with its measures.
//! Source: bencher.dev/docs/reference/bencher-metric-format.

use std::collections::BTreeMap;

use mlxbench_analysis::{Estimate, Row};
use serde::Serialize;

use crate::Digest;
use crate::benchmark_action::told_apart;

/// A figure, with its 95 % interval where there is one.
#[derive(Serialize)]
struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

/// The measures, by the slugs under which Bencher keeps their thresholds.
pub(crate) const MEASURES: [&str; 6] = [
    "prefill-tokens-per-second",
    "decode-tokens-per-second",
    "ttft-ms",
    "peak-memory-mib",
    "joules-per-token",
    "mean-kl",
];

/// A benchmark a row that was measured, named by model, target and test.
pub(crate) fn render(digests: &[Digest<'_>]) -> Vec<u8> {
    let (mut names, mut of, mut measures) = (Vec::new(), Vec::new(), Vec::new());
    for (
        at,
        Digest {
            result, summary, ..
        },
    ) in digests.iter().enumerate()
    {
        for row in &summary.rows {
            let known = of_row(row);
            if !known.is_empty() {
                names.push(format!(
                    "{}: {} {}",
                    result.run.model.name, row.target, row.test
                ));
                of.push(at);
                measures.push(known);
            }
        }
    }
    let names = told_apart(digests, names, &of);
    let benchmarks: BTreeMap<String, _> = names.into_iter().zip(measures).collect();
    let written = serde_json::to_vec_pretty(&benchmarks);
    let mut bytes = written.expect("its keys are strings, and a Vec takes every write");
    bytes.push(b'\n');
    bytes
}

fn of_row(row: &Row) -> BTreeMap<&'static str, Metric> {
    let alone = |value: f64| Estimate {
        median: value,
        interval: None,
        n: row.repetitions,
    };
    let memory = row
        .peak_bytes()
        .map(|bytes| alone(bytes as f64 / f64::from(1 << 20)));
    let cost = row.quantisation_cost.as_ref();
    // No speed of quantised weights without what they cost.
    let kl = cost.and_then(|cost| Some(alone(cost.figures.as_ref()?.mean_kl)));
    let figures = [
        row.prefill_tokens_per_second,
        row.decode_tokens_per_second,
        row.ttft_ns.map(|ttft| ttft.scaled(1e-6)),
        memory,
        row.joules_per_token,
        kl,
    ];
    let finite = |estimate: &Estimate| estimate.median.is_finite();
    let known = MEASURES.into_iter().zip(figures);
    let known = known.filter_map(|(name, figure)| Some((name, figure.filter(finite)?)));
    let measured = known.filter(|_| row.repetitions > 0);
    measured
        .map(|(name, estimate)| {
            let interval = estimate.interval;
            let metric = Metric {
                value: estimate.median,
                lower_value: interval.map(|interval| interval.low),
                upper_value: interval.map(|interval| interval.high),
            };
            (name, metric)
        })
        .collect()
}
