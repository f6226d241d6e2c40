//! What github-action-benchmark reads: its tools `customBiggerIsBetter` and `customSmallerIsBetter`
//! take an array of named values, each file of one direction.

use mlxbench_analysis::{Estimate, Row};
use serde::Serialize;

use crate::Digest;

/// One line of its chart.
#[derive(Serialize)]
struct Entry {
    name: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

/// A row's figure in a unit that people read.
struct Figure {
    name: &'static str,
    unit: &'static str,
    estimate: Option<Estimate>,
}

/// Prefill and decode rates.
pub(crate) fn bigger_is_better(digests: &[Digest<'_>]) -> Vec<u8> {
    render(digests, |row| {
        let rate = |name, estimate| Figure {
            name,
            unit: "tokens/s",
            estimate,
        };
        vec![
            rate("prefill", row.prefill_tokens_per_second),
            rate("decode", row.decode_tokens_per_second),
        ]
    })
}

/// Times to the first token and peaks of memory.
pub(crate) fn smaller_is_better(digests: &[Digest<'_>]) -> Vec<u8> {
    render(digests, |row| {
        let peak = row.peak_bytes().map(|bytes| Estimate {
            median: bytes as f64 / f64::from(1 << 20),
            interval: None,
            n: row.repetitions,
        });
        vec![
            Figure {
                name: "TTFT",
                unit: "ms",
                estimate: row.ttft_ns.map(|ttft| ttft.scaled(1e-6)),
            },
            Figure {
                name: "peak memory",
                unit: "MiB",
                estimate: peak,
            },
        ]
    })
}

fn render(digests: &[Digest<'_>], figures: impl Fn(&Row) -> Vec<Figure>) -> Vec<u8> {
    let mut entries = Vec::new();
    for Digest { result, summary } in digests {
        for row in &summary.rows {
            for figure in figures(row) {
                let Some(estimate) = figure.estimate else {
                    continue;
                };
                entries.push(Entry {
                    name: format!(
                        "{}: {} {} {}",
                        result.run.model.name, row.target, row.test, figure.name
                    ),
                    unit: figure.unit,
                    value: estimate.median,
                    range: estimate.half_width().map(|half| format!("± {half:.3}")),
                    extra: format!(
                        "median of {} repetitions on {}",
                        estimate.n, result.run.machine.cpu
                    ),
                });
            }
        }
    }
    let written = serde_json::to_vec_pretty(&entries);
    let mut bytes = written.expect("its keys are strings, and a Vec takes every write");
    bytes.push(b'\n');
    bytes
}
