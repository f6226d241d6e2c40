//! What clients of a server see, for tables: a row a target and test, more clients further down.

use mlxbench_analysis::serving::{Serving, Spread};
use mlxbench_analysis::{Estimate, Row};

use crate::table::{self, Table};
use crate::{Digest, units};

/// Share of prompts from which on it is told that a server has them in a cache: a begin token that all share is none.
const CACHED: f64 = 0.02;
/// Share of an answer's time over which its text must come for a rate to be seen.
const STREAMED: f64 = 0.05;
/// Share of the tokens asked for below which answers are short.
const SHORT: f64 = 0.9;

/// The columns.
const HEADER: [&str; 11] = [
    "target",
    "test",
    "output t/s",
    "TTFT p50",
    "TTFT p99",
    "TPOT p50",
    "request p50",
    "goodput req/s",
    "goodput t/s",
    "failed",
    "tokens in/out",
];

/// A row a target and test; no table without rows.
pub(crate) fn tables(digest: &Digest<'_>) -> Vec<Table> {
    let rows = digest.summary.rows.iter();
    let rows = rows.filter_map(|row| Some(cells(digest, row, row.serving.as_ref()?).to_vec()));
    table::with_rows([Table {
        heading: "Servers, from their clients' side".into(),
        about: "c4: four clients, each of which sends its next request when its last one has ended. TTFT: from sending \
                a request to the first text, connection included; TPOT: the rest of it, by the server's count of \
                tokens; goodput: what met the test's ttft_slo_ms and tpot_slo_ms. A percentile stands where there are \
                enough requests to have it, else the largest with a ≤."
            .into(),
        header: &HEADER,
        figures: 2..HEADER.len(),
        rows: rows.collect(),
    }])
}

fn cells(digest: &Digest<'_>, row: &Row, serving: &Serving) -> [String; HEADER.len()] {
    let rate = |rate: &Option<Estimate>| rate.as_ref().map(units::rate).unwrap_or_default();
    let count =
        |count: Option<f64>| count.map_or_else(|| "?".into(), |count| format!("{count:.0}"));
    let good = serving.goodput_tokens_per_second;
    [
        digest.name(&row.target).to_string(),
        row.test.to_string(),
        rate(&serving.output_tokens_per_second),
        time(&serving.ttft_ns, serving.ttft_ns.p50),
        time(&serving.ttft_ns, serving.ttft_ns.p99),
        time(&serving.tpot_ns, serving.tpot_ns.p50),
        time(&serving.latency_ns, serving.latency_ns.p50),
        rate(&serving.goodput_requests_per_second),
        good.map_or_else(String::new, |good| format!("{good:.1}")),
        format!("{}/{}", serving.failed, serving.requests),
        format!(
            "{}/{}",
            count(serving.prompt_tokens),
            count(serving.completion_tokens)
        ),
    ]
}

/// Each row's times in a sentence, where there is no room for the table.
pub(crate) fn sentences(digest: &Digest<'_>) -> Vec<String> {
    let rows = digest.summary.rows.iter();
    let served = rows.filter_map(|row| Some((row, row.serving.as_ref()?)));
    let said = served.map(|(row, serving)| {
        let times = |name: &str, spread: &Spread| {
            let (half, most) = (time(spread, spread.p50), time(spread, spread.p99));
            match spread.p99 {
                None if spread.p50.is_none() => format!("{name} {half}"),
                None => format!("{name} p50 {half}, {most}"),
                Some(_) => format!("{name} p50 {half}, p99 {most}"),
            }
        };
        format!(
            "{} {}: {}; {}; {}",
            digest.name(&row.target),
            row.test,
            times("TTFT", &serving.ttft_ns),
            times("TPOT", &serving.tpot_ns),
            times("request", &serving.latency_ns)
        )
    });
    said.collect()
}

/// A percentile, or what none of the times exceeds.
fn time(spread: &Spread, percentile: Option<f64>) -> String {
    match (percentile, spread.max) {
        (Some(time), _) => units::time(time),
        (None, Some(most)) => format!("≤ {}", units::time(most)),
        (None, None) => String::new(),
    }
}

/// What to know of a server's figures before they are believed, a sentence each without its end.
pub(crate) fn caveats(digest: &Digest<'_>) -> Vec<String> {
    let rows = digest.summary.rows.iter();
    let served = rows.filter_map(|row| Some((row, row.serving.as_ref()?)));
    let said = served.flat_map(|(row, serving)| {
        let name = format!("{} {}", digest.name(&row.target), row.test);
        let failed = serving.failure.as_ref().map(|failure| {
            let Serving {
                failed, requests, ..
            } = serving;
            format!("{name}: {failed} of {requests} requests failed, the first one: {failure}")
        });
        let answers = serving.requests - serving.failed;
        let read = serving.prompt_tokens.unwrap_or_default() * answers as f64;
        let cached = serving.cached_tokens as f64 / read;
        let cached = (cached > CACHED && cached.is_finite()).then(|| {
            format!(
                "{name}: the server took {:.0} % of the prompts' tokens from a cache, though no two prompts \
                 share more than a few words: those of a chat template, or the cache is of another kind",
                cached * 100.0
            )
        });
        let uncounted = match serving.uncounted {
            0 => None,
            all if all == answers => Some(format!(
                "{name}: the server doesn't count tokens, so there are no rates of them"
            )),
            some => Some(format!(
                "{name}: {some} of {answers} answers weren't counted by the server: a repetition with one of them \
                 has no rates of tokens"
            )),
        };
        let wanted = row.test.generate_tokens() as f64;
        let short = serving
            .completion_tokens
            .filter(|tokens| *tokens < wanted * SHORT)
            .map(|tokens| {
                format!(
                    "{name}: half of the answers ended before {tokens:.0} of {wanted} tokens: extra = {{ ignore_eos = \
                     true }} has some servers continue"
                )
            });
        let at_once = serving.streamed.filter(|share| *share < STREAMED);
        let at_once = at_once.map(|_| {
            format!("{name}: the server sends its text at once, so its time per token can't be seen")
        });
        [failed, cached, uncounted, short, at_once].into_iter().flatten()
    });
    said.collect()
}
