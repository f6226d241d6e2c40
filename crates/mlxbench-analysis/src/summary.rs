//! One row per target and test: what tables show.

use std::collections::{BTreeMap, BTreeSet};

use mlxbench_core::results::{
    Failure, FailureKind, Metric, QuantisationCost, RunResult, Sample, TargetId, Test,
};
use serde::Serialize;

use crate::chat::{ChatFigures, Conversations, conversations};
use crate::conditions::{CaseConditions, Throttled};
use crate::fingerprint::{Fingerprint, fingerprint};
use crate::metrics;
use crate::outliers::Outliers;
use crate::partings::{Tokens, tokens};
use crate::positions::{LatencyStep, latency_steps};
use crate::processes::{ProcessSpread, independent};
use crate::quantisation;
use crate::roofline::{
    DeviceLimits, device_limits, mbu_per_rate, memory_floor_bytes, mfu_per_rate,
};
use crate::serving::Serving;
use crate::stats::{Estimate, median, percentile, sorted};
use crate::sweeps::{Sweep, sweeps};
use crate::trend::{CommonTrend, Trend};

/// The rows of a run: every target of the config with every test, in the config's order, those
/// included that could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The rows, target by target.
    pub rows: Vec<Row>,
    /// Whether the whole machine grew slower or faster: the end-to-end times of all cases; of the targets'
    /// processes where there are several.
    pub drift: Option<CommonTrend>,
    /// Whether this may be compared with others.
    pub fingerprint: Fingerprint,
    /// Over the conversations that were read from files, target by target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conversations: Vec<Conversations>,
    /// Tests that differ in one length, and what jumps along them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<Sweep>,
    /// What each device can do at most, by the name of the hardware.
    pub limits: BTreeMap<String, DeviceLimits>,
}

/// A target's test. Figures cover the repetitions that were measured, whatever the status.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Whether the figures stand.
    pub status: RowStatus,
    /// The tokens beside the reference's, where it ran the test, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// What quantising as the target's weights are costs, with neither figures nor a reason where that
    /// wasn't looked at. `None` where they aren't quantised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantisation_cost: Option<QuantisationCost>,
    /// Repetitions that were measured, and count.
    pub repetitions: usize,
    /// Repetitions that the run took of this test in the end, or should have taken.
    pub planned_repetitions: usize,
    /// Worker processes that these repetitions ran in. With one, no interval covers what another process' luck
    /// would have made of the figure.
    pub processes: usize,
    /// How far end-to-end times lie apart between processes, and within one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_spread: Option<ProcessSpread>,
    /// [`Metric::Prefill`].
    pub prefill_tokens_per_second: Option<Estimate>,
    /// [`Metric::Decode`].
    pub decode_tokens_per_second: Option<Estimate>,
    /// [`Metric::Training`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_tokens_per_second: Option<Estimate>,
    /// [`Metric::TrainingStep`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_step_ns: Option<Estimate>,
    /// Share of the device's matmul rate that prefill used.
    pub mfu: Option<Estimate>,
    /// Share of the device's memory bandwidth that decode used.
    pub mbu: Option<Estimate>,
    /// [`Metric::Ttft`].
    pub ttft_ns: Option<Estimate>,
    /// [`Metric::EndToEnd`].
    pub end_to_end_ns: Option<Estimate>,
    /// [`Metric::Tpot`].
    pub tpot_ns: Option<Estimate>,
    /// Which end-to-end times lie far from the others.
    pub outliers: Option<Outliers>,
    /// Whether end-to-end times drifted from repetition to repetition; from process to process where there are
    /// several.
    pub trend: Option<Trend>,
    /// [`Metric::InterToken`], over all repetitions together.
    pub inter_token_ns: Option<InterToken>,
    /// Where latencies jump along the generation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latency_steps: Vec<LatencyStep>,
    /// What clients of a server see, where the test is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
    /// What a conversation has beside these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatFigures>,
    /// [`Metric::Load`], over the target's processes.
    pub load_ns: Option<Estimate>,
    /// The largest [`Metric::PeakMemory`] of the repetitions.
    pub peak_memory_bytes: Option<u64>,
    /// The largest [`Metric::DevicePeak`] of the repetitions.
    pub device_peak_bytes: Option<u64>,
    /// Weights and KV cache: what any implementation needs.
    pub memory_floor_bytes: Option<u64>,
    /// [`Metric::Power`].
    pub watts: Option<Estimate>,
    /// [`Metric::EnergyPerToken`].
    pub joules_per_token: Option<Estimate>,
    /// The state of the device meanwhile, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<CaseConditions>,
    /// Measurements that are marked as throttled, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<Throttled>,
}

impl Row {
    /// The most memory that was held: by the worker process, or by its framework on the device where
    /// that is more.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.peak_memory_bytes.max(self.device_peak_bytes)
    }
}

/// Whether a row's figures stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RowStatus {
    /// Measured.
    Ok,
    /// The logits of a repetition aren't finite: this speed is of no work.
    NotFinite,
    /// The target failed before all repetitions were measured.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// What happened.
        message: String,
    },
    /// Not measured: the run was cut short, or the case was left out of it.
    Missing,
}

/// Inter-token latencies in nanoseconds; a percentile only where there are enough of them to have
/// it (see [`percentile`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InterToken {
    /// The median.
    pub p50: Option<f64>,
    /// 90 % are at most this.
    pub p90: Option<f64>,
    /// 99 % are at most this.
    pub p99: Option<f64>,
    /// The largest.
    pub max: f64,
    /// How many latencies there were.
    pub n: usize,
}

impl InterToken {
    fn of(latencies: &[f64]) -> Option<Self> {
        let sorted = sorted(latencies);
        Some(Self {
            p50: percentile(&sorted, 50),
            p90: percentile(&sorted, 90),
            p99: percentile(&sorted, 99),
            max: *sorted.last()?,
            n: sorted.len(),
        })
    }
}

/// Summarises `result`.
pub fn summarize(result: &RunResult) -> Summary {
    let tests = &result.run.tests;
    let cases = result
        .run
        .targets
        .iter()
        .flat_map(|target| tests.iter().map(move |test| (target, test)));
    let rows: Vec<Row> = cases
        .map(|(target, test)| row(result, target, test))
        .collect();
    let times = result.run.targets.iter().flat_map(|t| levels(result, t));
    let times: Vec<Vec<f64>> = times.collect();
    Summary {
        conversations: conversations(result),
        sweeps: sweeps(result, &rows),
        rows,
        drift: CommonTrend::of(times.iter().map(Vec::as_slice)),
        fingerprint: fingerprint(result),
        limits: device_limits(result),
    }
}

/// A target's end-to-end times in the order of their time, in series that are independent of each other: those of
/// the repetitions of each test that one process ran; where there are several, one of the processes over all
/// tests, since luck makes all of a process' repetitions slow.
fn levels(result: &RunResult, target: &TargetId) -> Vec<Vec<f64>> {
    let mut series = Vec::new();
    let mut processes: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for test in &result.run.tests {
        let of_test = result.processes_of(target, test).into_iter();
        let times = of_test.map(|(process, samples)| {
            let times = samples.into_iter().filter_map(metrics::end_to_end);
            (process, times.map(|time| time.0 as f64).collect())
        });
        let times: Vec<(usize, Vec<f64>)> = times.collect();
        if let [(_, only)] = times.as_slice() {
            series.push(only.clone());
            continue;
        }
        let medians = times.iter().filter_map(|(_, times)| median(times));
        let Some(usual) = median(&medians.collect::<Vec<f64>>()) else {
            continue;
        };
        for (process, times) in times {
            let level = median(&times).map(|time| time / usual);
            processes.entry(process).or_default().extend(level);
        }
    }
    let mean = |levels: Vec<f64>| levels.iter().sum::<f64>() / levels.len() as f64;
    series.push(processes.into_values().map(mean).collect());
    series
}

/// Repetitions that the run took of `test`, or should have taken.
fn planned_repetitions(result: &RunResult, test: &Test) -> usize {
    let stopped = result.stopped.iter().find(|known| known.test == *test);
    stopped.map_or(result.run.settings.repetitions, |known| known.repetitions)
}

fn row(result: &RunResult, target: &TargetId, test: &Test) -> Row {
    let samples: Vec<&Sample> = result.samples_of(target, test).collect();
    let estimate = |metric: Metric| metrics::estimate(metric, result, target, test);
    let prefill = estimate(Metric::Prefill);
    let decode = estimate(Metric::Decode);
    let share =
        |rate: &Option<Estimate>, per_rate: Option<f64>| Some(rate.as_ref()?.scaled(per_rate?));
    let times = metrics::values_by_process(Metric::EndToEnd, result, target, test);
    let reference = result.run.settings.reference.as_ref();
    Row {
        target: target.clone(),
        test: *test,
        status: case_status(result, target, test),
        tokens: reference.and_then(|reference| tokens(result, reference, target, test)),
        quantisation_cost: quantisation::cost_of(result, target),
        repetitions: samples.len(),
        planned_repetitions: planned_repetitions(result, test),
        processes: times.len(),
        process_spread: ProcessSpread::of(&times),
        mfu: share(&prefill, mfu_per_rate(result, target, test)),
        mbu: share(&decode, mbu_per_rate(result, target, test)),
        tpot_ns: estimate(Metric::Tpot),
        outliers: Outliers::of(&times.concat()),
        trend: Trend::of(&independent(&times)),
        memory_floor_bytes: memory_floor_bytes(result, target, test),
        watts: estimate(Metric::Power),
        joules_per_token: estimate(Metric::EnergyPerToken),
        conditions: CaseConditions::of(result, target, test),
        throttled: Throttled::of(result, target, test),
        prefill_tokens_per_second: prefill,
        decode_tokens_per_second: decode,
        trained_tokens_per_second: estimate(Metric::Training),
        training_step_ns: estimate(Metric::TrainingStep),
        ttft_ns: estimate(Metric::Ttft),
        end_to_end_ns: estimate(Metric::EndToEnd),
        inter_token_ns: InterToken::of(&metrics::values(Metric::InterToken, result, target, test)),
        latency_steps: latency_steps(result, target, test),
        serving: Serving::of(result, target, test),
        chat: ChatFigures::of(result, target, test),
        load_ns: estimate(Metric::Load),
        peak_memory_bytes: samples.iter().filter_map(|s| s.peak_memory_bytes).max(),
        device_peak_bytes: samples.iter().filter_map(|s| s.device_peak_bytes).max(),
    }
}

/// Whether a case's figures stand.
pub(crate) fn case_status(result: &RunResult, target: &TargetId, test: &Test) -> RowStatus {
    // Heat is no excuse for wrong work.
    if result
        .measured_of(target, test)
        .any(|sample| !sample.finite)
    {
        return RowStatus::NotFinite;
    }
    // What heat spoilt was measured all the same.
    let measured = result.measured_of(target, test);
    let measured: BTreeSet<usize> = measured.map(|sample| sample.repetition).collect();
    // A journal keeps the failures of a first try that a resumed run has made good.
    if measured.len() >= planned_repetitions(result, test) {
        return RowStatus::Ok;
    }
    match failure(result, target, test) {
        Some(failure) => RowStatus::Failed {
            kind: failure.kind,
            message: failure.message.clone(),
        },
        None if measured.is_empty() => RowStatus::Missing,
        None => RowStatus::Ok,
    }
}

/// Why a case failed: its own last failure says more than one of the whole target.
fn failure<'a>(result: &'a RunResult, target: &TargetId, test: &Test) -> Option<&'a Failure> {
    let lost = || {
        result
            .failures_of(target)
            .filter(|failure| !failure.retried)
    };
    let own = |failure: &&Failure| failure.test.as_ref() == Some(test);
    let of_target = |failure: &&Failure| failure.test.is_none();
    let last_own = lost().filter(own).last();
    last_own.or_else(|| lost().filter(of_target).last())
}

#[cfg(test)]
mod tests {
    use mlxbench_core::{Scheme, WeightFormat};

    use super::*;
    use crate::fixture::{result, sample, target, test};

    fn only_status(result: &RunResult) -> RowStatus {
        let Summary { rows, .. } = summarize(result);
        assert_eq!(rows.len(), 1);
        rows[0].status.clone()
    }

    fn failure(test: Option<Test>, message: &str) -> Failure {
        Failure {
            target: target(),
            test,
            kind: FailureKind::Died,
            message: message.into(),
            retried: false,
        }
    }

    fn three_samples() -> Vec<Sample> {
        let one = |repetition, first| Sample {
            repetition,
            ..sample(test(8, 2), &[first, first + 50])
        };
        vec![one(0, 100), one(1, 110), one(2, 120)]
    }

    #[test]
    fn a_measured_case_has_its_figures() {
        let row = summarize(&result(three_samples())).rows.remove(0);
        assert_eq!(row.status, RowStatus::Ok);
        assert_eq!(row.repetitions, 3);
        let ttft = row.ttft_ns.unwrap();
        assert_eq!((ttft.median, ttft.n), (110.0, 3));
        assert_eq!(row.decode_tokens_per_second.unwrap().median, 2e7);
        let latencies = row.inter_token_ns.unwrap();
        assert_eq!((latencies.p50, latencies.max), (None, 50.0));
        assert_eq!(row.load_ns.unwrap().median, 5e8);
        assert_eq!(row.peak_memory_bytes, Some(1024));
        assert_eq!(row.device_peak_bytes, None);
    }

    #[test]
    fn rows_of_quantised_weights_have_the_cost_of_their_scheme() {
        let mut result = result(Vec::new());
        let quantised = ["mock/cpu/f32", "mock/cpu/q8-f32", "mock/cpu/q4-f32"];
        result.run.targets = quantised.map(|id| id.parse().unwrap()).to_vec();
        let known = QuantisationCost {
            weights: WeightFormat::Quantised(Scheme::Q4),
            figures: None,
            reason: Some("random weights".into()),
        };
        result.quantisation_costs = vec![known.clone()];
        let rows = summarize(&result).rows;
        let costs: Vec<_> = rows.into_iter().map(|row| row.quantisation_cost).collect();
        let unknown = QuantisationCost {
            weights: WeightFormat::Quantised(Scheme::Q8),
            reason: Some("the run has no reference".into()),
            ..known.clone()
        };
        assert_eq!(costs, [None, Some(unknown), Some(known)]);
    }

    #[test]
    fn rows_keep_the_order_of_the_config() {
        let mut result = result(three_samples());
        result.run.tests = vec![test(9, 0), test(8, 2)];
        let rows = summarize(&result).rows;
        let names: Vec<String> = rows.iter().map(|row| row.test.to_string()).collect();
        assert_eq!(names, ["pp9", "pp8+tg2"]);
        assert_eq!(rows[0].status, RowStatus::Missing);
    }

    #[test]
    fn one_repetition_without_finite_logits_spoils_the_row() {
        let mut samples = three_samples();
        samples[1].finite = false;
        assert_eq!(only_status(&result(samples)), RowStatus::NotFinite);
    }

    #[test]
    fn a_case_that_failed_says_why_and_keeps_what_was_measured() {
        let mut result = result(three_samples()[..1].to_vec());
        result.failures = vec![
            failure(Some(test(8, 2)), "killed"),
            failure(None, "did not load again"),
        ];
        let row = summarize(&result).rows.remove(0);
        let killed = RowStatus::Failed {
            kind: FailureKind::Died,
            message: "killed".into(),
        };
        assert_eq!((row.status, row.repetitions), (killed, 1));
        assert!(row.ttft_ns.is_some());
    }

    #[test]
    fn a_target_that_never_started_fails_every_case() {
        let mut result = result(Vec::new());
        result.failures = vec![failure(None, "no such device")];
        assert!(matches!(
            only_status(&result),
            RowStatus::Failed { message, .. } if message == "no such device"
        ));
    }

    #[test]
    fn a_case_that_was_measured_throughout_did_not_fail_with_its_target_later() {
        let mut result = result(three_samples());
        result.samples[1].throttled = true;
        result.failures = vec![failure(None, "killed")];
        assert_eq!(only_status(&result), RowStatus::Ok);
    }

    #[test]
    fn a_failure_that_a_resumed_run_made_good_is_forgotten() {
        let mut result = result(three_samples());
        result.failures = vec![failure(Some(test(8, 2)), "killed")];
        assert_eq!(only_status(&result), RowStatus::Ok);
    }
}
