//! What clients of a server see: computed from the raw times of their requests. A request that failed counts as such
//! and for nothing else.

use mlxbench_core::Nanos;
use mlxbench_core::results::{Metric, RunResult, Sample, ServeTest, ServedRequest, TargetId, Test};
use serde::Serialize;

use crate::metrics::estimate;
use crate::stats::{Estimate, median, percentile, sorted};

/// The figures of a server at one test, over all requests of all repetitions that count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Serving {
    /// [`Metric::Throughput`], a repetition.
    pub output_tokens_per_second: Option<Estimate>,
    /// [`Metric::Goodput`], a repetition; `None` where the test states no goal.
    pub goodput_requests_per_second: Option<Estimate>,
    /// Tokens a second of the requests that met the goal, the median over repetitions.
    pub goodput_tokens_per_second: Option<f64>,
    /// Time to first token of a request: to the first piece of text.
    pub ttft_ns: Spread,
    /// Time to the first byte of the answer: a comment or a role, too.
    pub first_byte_ns: Spread,
    /// Time per output token of a request, after its first piece of text.
    pub tpot_ns: Spread,
    /// From sending a request to the end of its answer.
    pub latency_ns: Spread,
    /// Requests that were sent.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// What the first of them said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Answers whose tokens the server didn't count.
    pub uncounted: usize,
    /// Median tokens of a prompt, by the server's count.
    pub prompt_tokens: Option<f64>,
    /// Median tokens of an answer, by the server's count.
    pub completion_tokens: Option<f64>,
    /// Share of the time of an answer from its first piece of text to its last, the median over requests.
    pub streamed: Option<f64>,
    /// Tokens of prompts that the server took from a cache all the same, over all requests.
    pub cached_tokens: u64,
}

/// A figure over requests; a percentile only where there are enough of them to have it (see [`percentile`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: Option<f64>,
    /// 99 % are at most this.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Requests that have the figure.
    pub n: usize,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values = sorted(&values.collect::<Vec<_>>());
        Self {
            p50: percentile(&values, 50),
            p99: percentile(&values, 99),
            max: values.last().copied(),
            n: values.len(),
        }
    }
}

impl Serving {
    /// The figures of `target` at `test`; `None` where that is no test of a server or nothing was measured.
    pub fn of(result: &RunResult, target: &TargetId, test: &Test) -> Option<Self> {
        let goal = test.as_serve()?;
        let samples: Vec<&Sample> = result.samples_of(target, test).collect();
        let requests = samples.iter().flat_map(|sample| &sample.requests);
        let (failed, whole): (Vec<_>, Vec<_>) = requests.partition(|one| one.error.is_some());
        if failed.is_empty() && whole.is_empty() {
            return None;
        }
        let whole_of = |figure: fn(&ServedRequest) -> Option<f64>| {
            Spread::of(whole.iter().filter_map(|request| figure(request)))
        };
        let of = |count: fn(&ServedRequest) -> Option<u64>| {
            let counts = whole.iter().filter_map(|request| count(request));
            median(&counts.map(|count| count as f64).collect::<Vec<_>>())
        };
        let good = samples
            .iter()
            .filter_map(|sample| good_tokens(sample, goal));
        let streamed = whole.iter().filter_map(|request| streamed(request));
        let uncounted = whole
            .iter()
            .filter(|request| request.completion_tokens.is_none());
        Some(Self {
            output_tokens_per_second: estimate(Metric::Throughput, result, target, test),
            goodput_requests_per_second: estimate(Metric::Goodput, result, target, test),
            goodput_tokens_per_second: median(&good.collect::<Vec<_>>()),
            ttft_ns: whole_of(ttft),
            first_byte_ns: whole_of(first_byte),
            tpot_ns: whole_of(tpot),
            latency_ns: whole_of(|request| Some(latency(request))),
            requests: failed.len() + whole.len(),
            failed: failed.len(),
            failure: failed.first().and_then(|request| request.error.clone()),
            uncounted: uncounted.count(),
            prompt_tokens: of(|request| request.prompt_tokens),
            completion_tokens: of(|request| request.completion_tokens),
            streamed: median(&streamed.collect::<Vec<_>>()),
            cached_tokens: whole
                .iter()
                .filter_map(|request| request.cached_tokens)
                .sum(),
        })
    }
}

/// The requests of a repetition that were answered.
fn answered(sample: &Sample) -> impl Iterator<Item = &ServedRequest> {
    sample
        .requests
        .iter()
        .filter(|request| request.error.is_none())
}

/// From the first of the requests that were answered to the end of the last answer, in seconds; `None` where no
/// time passed.
fn seconds(sample: &Sample) -> Option<f64> {
    let start = answered(sample).map(|request| request.start_ns).min()?;
    let end = answered(sample).map(|request| request.end_ns).max()?;
    Some(end.since(start).as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

/// Tokens that answers held, over the time from the first request to the end of the last, of those that were
/// answered. `None` where the server didn't count one of them.
pub fn throughput(sample: &Sample) -> Option<f64> {
    let counts = answered(sample).map(|request| request.completion_tokens);
    Some(counts.sum::<Option<u64>>()? as f64 / seconds(sample)?)
}

/// Requests a second that were answered within the test's time to first token and time per output token (DistServe's
/// goodput). `None` where it states neither, or one that can't be known as the server doesn't count.
pub fn goodput(sample: &Sample) -> Option<f64> {
    let goal = sample.test.as_serve().filter(|test| test.has_goal())?;
    let good = answered(sample).map(|request| meets(request, goal));
    let good = good.collect::<Option<Vec<bool>>>()?;
    Some(good.iter().filter(|good| **good).count() as f64 / seconds(sample)?)
}

/// [`goodput`] in tokens a second.
fn good_tokens(sample: &Sample, goal: &ServeTest) -> Option<f64> {
    if !goal.has_goal() {
        return None;
    }
    let tokens = answered(sample).map(|request| match meets(request, goal)? {
        true => request.completion_tokens,
        false => Some(0),
    });
    Some(tokens.sum::<Option<u64>>()? as f64 / seconds(sample)?)
}

/// Whether a request that was answered met the goal; `None` where that can't be known.
fn meets(request: &ServedRequest, goal: &ServeTest) -> Option<bool> {
    let within = |value: Option<f64>, most: Option<Nanos>| match most {
        None => Some(true),
        Some(most) => value.map(|value| value <= most.0 as f64),
    };
    // An answer of one token, or in one piece, has no time after the first.
    let rest = match (request.completion_tokens, request.chunk_ns.len()) {
        (Some(0 | 1), _) | (Some(_), 0 | 1) => Some(0.0),
        _ => tpot(request),
    };
    Some(within(ttft(request), goal.ttft_slo_ns)? && within(rest, goal.tpot_slo_ns)?)
}

/// Time to first token in nanoseconds, as the client sees it: from sending the request to the first piece of text.
fn ttft(request: &ServedRequest) -> Option<f64> {
    Some(request.first_content_ns()?.since(request.start_ns).0 as f64)
}

fn first_byte(request: &ServedRequest) -> Option<f64> {
    Some(request.first_byte_ns?.since(request.start_ns).0 as f64)
}

/// When the last token that the server counts was there, where the last piece of text was at `last`. A stop token is
/// counted and has no text: its time is that of the chunk that says why the server stopped, or, in a result that
/// lacks it, the end of the answer.
fn last_token(request: &ServedRequest, last: Nanos) -> Nanos {
    match request.finish_reason.as_deref() {
        None | Some("length") => last,
        Some(_) => request.finish_ns.unwrap_or(request.end_ns).max(last),
    }
}

/// Time per output token in nanoseconds: from the first piece of text to the last token over the tokens but one, by
/// the server's count. `None` for fewer than two tokens or pieces, or without a count.
fn tpot(request: &ServedRequest) -> Option<f64> {
    let [first, .., last] = request.chunk_ns.as_slice() else {
        return None;
    };
    let steps = request
        .completion_tokens?
        .checked_sub(1)
        .filter(|steps| *steps > 0)?;
    Some(last_token(request, *last).since(*first).0 as f64 / steps as f64)
}

/// Share of a request's time from its first piece of text to its last; `None` for an answer of one token or none, or
/// without a count.
fn streamed(request: &ServedRequest) -> Option<f64> {
    let (first, last) = (request.chunk_ns.first()?, request.chunk_ns.last()?);
    request.completion_tokens.filter(|tokens| *tokens > 1)?;
    Some(last.since(*first).0 as f64 / latency(request)).filter(|share| share.is_finite())
}

fn latency(request: &ServedRequest) -> f64 {
    request.end_ns.since(request.start_ns).0 as f64
}

/// The median over a repetition's requests of their time to first token, in nanoseconds.
pub fn median_ttft(sample: &Sample) -> Option<f64> {
    median(&answered(sample).filter_map(ttft).collect::<Vec<_>>())
}

/// The median over a repetition's requests of their time per output token, in nanoseconds.
pub fn median_tpot(sample: &Sample) -> Option<f64> {
    median(&answered(sample).filter_map(tpot).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Options;
    use crate::fixture::{result, sample, target};
    use crate::{Change, Compared, compare};

    const GOAL: ServeTest = ServeTest {
        prompt_tokens: 8,
        generate_tokens: 5,
        concurrency: 2,
        requests: 3,
        ttft_slo_ns: Some(Nanos(200_000_000)),
        tpot_slo_ns: Some(Nanos(50_000_000)),
    };

    /// A request that is sent at `start` ms, whose text comes at `chunks`, and which holds `tokens`.
    fn request(start: u64, chunks: &[u64], tokens: u64) -> ServedRequest {
        let ms = |ms: u64| Nanos(ms * 1_000_000);
        ServedRequest {
            start_ns: ms(start),
            first_byte_ns: Some(ms(start + 1)),
            chunk_ns: chunks.iter().copied().map(ms).collect(),
            finish_ns: None,
            end_ns: ms(chunks.last().copied().unwrap_or(start) + 1),
            prompt_tokens: Some(9),
            completion_tokens: Some(tokens),
            cached_tokens: None,
            finish_reason: Some("length".into()),
            error: None,
        }
    }

    fn served(requests: Vec<ServedRequest>) -> Sample {
        Sample {
            requests,
            ..sample(GOAL.into(), &[])
        }
    }

    #[test]
    fn tokens_are_the_servers_and_time_is_that_of_all_clients() {
        // Two pieces of text, five tokens.
        let sample = served(vec![request(0, &[100, 300], 5), request(0, &[500, 999], 5)]);
        assert_eq!(throughput(&sample), Some(10.0));
        assert_eq!(median_ttft(&sample), Some(3e8));
        assert_eq!(tpot(&sample.requests[0]), Some(5e7));
    }

    #[test]
    fn a_stop_token_is_counted_and_has_its_time() {
        let at = |ms: u64| Some(Nanos(ms * 1_000_000));
        let stopped = |finish_ns| ServedRequest {
            finish_reason: Some("stop".into()),
            finish_ns,
            end_ns: Nanos(520_000_000),
            ..request(0, &[100, 400], 5)
        };
        assert_eq!(tpot(&stopped(at(500))), Some(1e8));
        assert_eq!(tpot(&stopped(None)), Some(1.05e8), "else the answer's end");
        assert_eq!(tpot(&stopped(at(50))), Some(7.5e7), "not before the text");
        let full = ServedRequest {
            finish_ns: at(500),
            ..request(0, &[100, 400], 5)
        };
        assert_eq!(tpot(&full), Some(7.5e7), "the last token has text");
        let in_one_piece = ServedRequest {
            chunk_ns: vec![Nanos(100)],
            ..stopped(at(500))
        };
        assert_eq!(tpot(&in_one_piece), None);
    }

    #[test]
    fn goodput_counts_what_met_both_goals() {
        let (slow_start, slow_rest) = (request(0, &[201, 300], 5), request(0, &[100, 999], 5));
        let good = request(0, &[200, 400], 5);
        let sample = served(vec![slow_start, slow_rest, good]);
        assert_eq!(goodput(&sample), Some(1.0));
        assert_eq!(good_tokens(&sample, &GOAL), Some(5.0));
    }

    #[test]
    fn an_answer_in_one_piece_has_no_time_after_the_first_and_is_seen_not_to_be_streamed() {
        let sample = served(vec![request(0, &[100], 5)]);
        assert_eq!(goodput(&sample).map(|rate| rate > 0.0), Some(true));
        let run = result(vec![sample]);
        let figures = Serving::of(&run, &target(), &GOAL.into()).unwrap();
        assert_eq!((figures.streamed, figures.tpot_ns.n), (Some(0.0), 0));
        // Of one token there is nothing to stream.
        let run = result(vec![served(vec![request(0, &[100], 1)])]);
        let figures = Serving::of(&run, &target(), &GOAL.into()).unwrap();
        assert_eq!(figures.streamed, None);
    }

    #[test]
    fn goodput_that_falls_to_nothing_has_no_ratio_and_is_broken() {
        let runs = [&[200, 400], &[900, 999]].map(|chunks: &[u64; 2]| {
            let mut run = result(vec![served(vec![request(0, chunks, 5)])]);
            run.run.tests = vec![GOAL.into()];
            run
        });
        let options = Options {
            metrics: vec![Compared::Goodput],
            ..Options::default()
        };
        let compared = compare(&runs[0], &runs[1], &options);
        let broken = Change::Broken {
            reason: "it fell to 0".into(),
        };
        assert_eq!(compared.rows[0].change, broken);
    }

    #[test]
    fn what_failed_counts_as_failed_and_for_nothing_else() {
        // It begins before the answer and ends after it.
        let failed = ServedRequest {
            error: Some("cut".into()),
            ..request(0, &[1, 5000], 5)
        };
        let answered = request(500, &[600, 700], 5);
        let sample = served(vec![failed, answered]);
        let alone = served(vec![request(500, &[600, 700], 5)]);
        assert_eq!(throughput(&sample), throughput(&alone));
        assert_eq!(goodput(&sample), goodput(&alone));
        assert_eq!(good_tokens(&sample, &GOAL), good_tokens(&alone, &GOAL));
        let result = result(vec![sample]);
        let serving = Serving::of(&result, &target(), &GOAL.into()).unwrap();
        assert_eq!((serving.requests, serving.failed), (2, 1));
        assert_eq!(serving.failure.as_deref(), Some("cut"));
        assert_eq!((serving.ttft_ns.max, serving.ttft_ns.n), (Some(1e8), 1));
        let rate = serving.output_tokens_per_second.unwrap().median;
        assert!((rate * 0.201 / 5.0 - 1.0).abs() < 1e-12, "{rate}");
        assert_eq!(serving.ttft_ns.p50, None, "one request has no median");
    }

    #[test]
    fn without_the_servers_count_there_are_no_token_rates() {
        let uncounted = ServedRequest {
            completion_tokens: None,
            ..request(0, &[100, 999], 5)
        };
        let sample = served(vec![uncounted.clone()]);
        assert_eq!((throughput(&sample), goodput(&sample)), (None, None));
        assert_eq!(median_ttft(&sample), Some(1e8));
        // One such answer is enough.
        let sample = served(vec![request(0, &[100, 999], 5), uncounted]);
        assert_eq!(throughput(&sample), None);
        let run = result(vec![sample]);
        let figures = Serving::of(&run, &target(), &GOAL.into()).unwrap();
        assert_eq!((figures.uncounted, figures.tpot_ns.n), (1, 1));
    }
}
