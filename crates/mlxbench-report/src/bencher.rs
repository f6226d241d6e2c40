//! What Bencher reads with its `json` adapter: Bencher Metric Format, an object of benchmarks, each with its measures.
//! Source: bencher.dev/docs/reference/bencher-metric-format.

use std::collections::BTreeMap;

use mlxbench_analysis::{Estimate, Row};
use serde::Serialize;

use crate::Digest;
use crate::benchmark_action::told_apart;
use crate::figures::{Figure, figures};

/// A figure, with its 95 % interval where there is one.
#[derive(Serialize)]
struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

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

/// The measures of a row, by the slugs under which Bencher keeps their thresholds.
fn of_row(row: &Row) -> BTreeMap<&'static str, Metric> {
    let measure = |(figure, estimate): (&'static Figure, Estimate)| {
        let interval = estimate.interval;
        let metric = Metric {
            value: estimate.median,
            lower_value: interval.map(|interval| interval.low),
            upper_value: interval.map(|interval| interval.high),
        };
        (figure.slug, metric)
    };
    figures(row).map(measure).collect()
}
