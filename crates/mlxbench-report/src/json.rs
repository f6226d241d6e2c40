//! The results themselves, each with its summary.

use jiff::Timestamp;
use mlxbench_analysis::Summary;
use mlxbench_core::results::{
    Conditions, Equivalence, Failure, Parting, ProductProbe, QuantisationCost, Run, RunResult,
    Sample, Stopped, StreamProbe, TargetFacts, TestCheck, Warmup,
};
use serde::Serialize;

use crate::Digest;

/// The keys of a result file, and `summary`: so a report in JSON is a result file, too.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    run: &'a Run,
    targets: &'a [TargetFacts],
    equivalences: &'a [Equivalence],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    checks: &'a [TestCheck],
    #[serde(skip_serializing_if = "<[Parting]>::is_empty")]
    partings: &'a [Parting],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    quantisation_costs: &'a [QuantisationCost],
    streams: &'a [StreamProbe],
    products: &'a [ProductProbe],
    warmups: &'a [Warmup],
    samples: &'a [Sample],
    failures: &'a [Failure],
    stopped: &'a [Stopped],
    resumed: &'a [Timestamp],
    conditions_after: Option<&'a Conditions>,
    finished: Option<Timestamp>,
    summary: Summary,
}

impl<'a> From<Digest<'a>> for Document<'a> {
    fn from(
        Digest {
            result, summary, ..
        }: Digest<'a>,
    ) -> Self {
        let RunResult {
            schema_version,
            run,
            targets,
            equivalences,
            checks,
            partings,
            quantisation_costs,
            streams,
            products,
            warmups,
            samples,
            failures,
            stopped,
            resumed,
            conditions_after,
            finished,
        } = result;
        Self {
            schema_version: *schema_version,
            run,
            targets,
            equivalences,
            checks,
            partings,
            quantisation_costs,
            streams,
            products,
            warmups,
            samples,
            failures,
            stopped,
            resumed,
            conditions_after: conditions_after.as_ref(),
            finished: *finished,
            summary,
        }
    }
}

/// The object of a single result, an array of them otherwise.
pub(crate) fn render(digests: Vec<Digest<'_>>) -> Vec<u8> {
    let documents: Vec<Document<'_>> = digests.into_iter().map(Document::from).collect();
    let written = match documents.as_slice() {
        [only] => serde_json::to_vec_pretty(only),
        all => serde_json::to_vec_pretty(all),
    };
    let mut bytes = written.expect("results have string keys only, and a Vec takes every write");
    bytes.push(b'\n');
    bytes
}
