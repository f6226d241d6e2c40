//! Each figure's definition, once: computed from the raw timestamps of a [`Sample`].
//!
//! A sample's `token_ns` are t_1 ... t_n: when each token could be read on the host, from the
//! handing over of the prompt. A test without tokens to generate (`pp512`) runs one token, for its
//! timestamp; a test without a prompt (`tg128`) starts from one token, which isn't counted.
//!
//! A conversation has such times for each turn: rates and latencies are those of all turns together, TTFT is the
//! first one's, and the end-to-end time is the sum.

use std::collections::BTreeMap;

use mlxbench_core::Nanos;
use mlxbench_core::converse::Turn;
use mlxbench_core::results::{Metric, RunResult, Sample, TargetId, Test};

use crate::serving;
use crate::stats::{Estimate, median};

/// The measurements of a target's test, in tokens a second, nanoseconds, bytes, watts or joules: one a
/// repetition that has the figure; for [`Metric::InterToken`] all latencies of all repetitions; for [`Metric::Load`]
/// one a worker process of the target, whatever the test.
pub fn values(metric: Metric, result: &RunResult, target: &TargetId, test: &Test) -> Vec<f64> {
    let samples = result.samples_of(target, test);
    let nanos = |time: Nanos| time.0 as f64;
    match metric {
        Metric::InterToken => samples.flat_map(inter_token).map(nanos).collect(),
        Metric::Load => {
            let facts = result.targets.iter().filter(|facts| facts.id == *target);
            facts
                .flat_map(|facts| facts.load_ns.iter().copied().map(nanos))
                .collect()
        }
        _ => {
            let idle = idle_watts(result, target);
            samples
                .filter_map(|sample| of_sample(metric, sample, idle))
                .collect()
        }
    }
}

/// [`values`] by the worker process that measured them, in the order in which the processes were started; none is
/// empty. What a process has by luck is in all of its values: only processes are independent of each other.
pub fn values_by_process(
    metric: Metric,
    result: &RunResult,
    target: &TargetId,
    test: &Test,
) -> Vec<Vec<f64>> {
    let nanos = |time: Nanos| time.0 as f64;
    if metric == Metric::Load {
        let loads = values(metric, result, target, test);
        return loads.into_iter().map(|load| vec![load]).collect();
    }
    let idle = idle_watts(result, target);
    let of_process = |samples: Vec<&Sample>| -> Vec<f64> {
        let samples = samples.into_iter();
        match metric {
            Metric::InterToken => samples.flat_map(inter_token).map(nanos).collect(),
            _ => samples.filter_map(|s| of_sample(metric, s, idle)).collect(),
        }
    };
    let processes = result.processes_of(target, test).into_values();
    let processes = processes.map(of_process);
    processes.filter(|values| !values.is_empty()).collect()
}

/// The values of repetitions, by process and number: those of several tests of a target with the same key were measured
/// one after another by one process.
pub fn values_by_repetition(
    metric: Metric,
    result: &RunResult,
    target: &TargetId,
    test: &Test,
) -> BTreeMap<(usize, usize), f64> {
    let idle = idle_watts(result, target);
    let processes = result.processes_of(target, test).into_iter();
    let samples = processes
        .flat_map(|(process, samples)| samples.into_iter().map(move |sample| (process, sample)));
    let value = |(process, sample): (usize, &Sample)| {
        let value = of_sample(metric, sample, idle)?;
        Some(((process, sample.repetition), value))
    };
    samples.filter_map(value).collect()
}

/// The median of [`values`] with its interval over processes; `None` where nothing has the figure.
pub fn estimate(
    metric: Metric,
    result: &RunResult,
    target: &TargetId,
    test: &Test,
) -> Option<Estimate> {
    Estimate::of_processes(&values_by_process(metric, result, target, test))
}

/// What one repetition measured, in the unit of [`values`]; `None` for a figure that its test doesn't yield,
/// and for [`Metric::InterToken`] and [`Metric::Load`], of which it has none or many. Energy takes the
/// power of the device when idle.
pub(crate) fn of_sample(metric: Metric, sample: &Sample, idle_watts: Option<f64>) -> Option<f64> {
    let nanos = |time: Nanos| time.0 as f64;
    let bytes = |bytes: u64| bytes as f64;
    let serves = sample.test.as_serve().is_some();
    match metric {
        _ if !sample.test.yields(metric) => None,
        Metric::Throughput => serving::throughput(sample),
        Metric::Goodput => serving::goodput(sample),
        Metric::Ttft if serves => serving::median_ttft(sample),
        Metric::Tpot if serves => serving::median_tpot(sample),
        Metric::Decode if serves => serving::median_tpot(sample).map(|tpot| 1e9 / tpot),
        Metric::Training => training_rate(sample),
        Metric::TrainingStep => training_step(sample),
        Metric::Prefill => prefill_rate(sample),
        Metric::Decode => decode_rate(sample),
        Metric::Ttft => ttft(sample).map(nanos),
        Metric::WarmTtft => warm_ttft(sample),
        Metric::ColdTtft => sample.turns.as_ref().map(|turns| nanos(turns.cold_ttft_ns)),
        Metric::Overall => overall_rate(sample),
        Metric::Tpot => tpot(sample),
        Metric::EndToEnd => end_to_end(sample).map(nanos),
        Metric::PeakMemory => sample.peak_memory_bytes.map(bytes),
        Metric::DevicePeak => sample.device_peak_bytes.map(bytes),
        Metric::Power => watts(sample),
        Metric::EnergyPerToken => joules_per_token(sample, idle_watts?),
        Metric::InterToken | Metric::Load => None,
    }
}

/// The times of each series of tokens: of the turns of a conversation, else of the one generation.
fn series(sample: &Sample) -> impl Iterator<Item = &[Nanos]> {
    let turns = sample.turns.iter().flat_map(|turns| &turns.turns);
    let generates = sample.test.as_generate().is_some();
    let alone = generates.then_some(sample.token_ns.as_slice());
    alone
        .into_iter()
        .chain(turns.map(|turn| turn.token_ns.as_slice()))
}

/// Steps after the first token of each series, and their time.
fn steps(sample: &Sample) -> (usize, Nanos) {
    let of_series = |times: &[Nanos]| match times {
        [first, rest @ ..] => rest.last().map(|last| (rest.len(), last.since(*first).0)),
        [] => None,
    };
    let all = series(sample).filter_map(of_series);
    let (count, time) = all.fold((0, 0), |(count, time), (more, by)| {
        (count + more, time + by)
    });
    (count, Nanos(time))
}

/// Time to first token: t_1, from the handing over of the prompt until the first token could be
/// read on the host (MLPerf Inference's TTFT); of a conversation that of the first turn, whose cache is empty. `None`
/// for a sample without tokens.
pub fn ttft(sample: &Sample) -> Option<Nanos> {
    series(sample).next()?.first().copied()
}

/// Time to first token of a turn whose history is in the cache, in nanoseconds: the median over the turns from the
/// second on, each from the handing over of its prompt.
pub fn warm_ttft(sample: &Sample) -> Option<f64> {
    let turns = sample.turns.as_ref()?.turns.iter().skip(1);
    let first = turns.filter_map(|turn| turn.token_ns.first());
    let times: Vec<f64> = first.map(|time| time.0 as f64).collect();
    median(&times)
}

/// Tokens a second over a whole conversation: what each turn adds to the prompt, and what is generated, over the sum
/// of the turns' times. What is read again isn't counted, and its time is.
pub fn overall_rate(sample: &Sample) -> Option<f64> {
    let turns = &sample.turns.as_ref()?.turns;
    let of_turn = |turn: &Turn| turn.new_tokens + turn.token_ns.len();
    rate(turns.iter().map(of_turn).sum(), end_to_end(sample)?)
}

/// Prefill rate in tokens a second: rows x prompt tokens / t_1 (llama-bench's `pp`, with the first
/// token's selection and read-back in it). `None` for a test without a prompt of its own, and
/// when no time passed.
pub fn prefill_rate(sample: &Sample) -> Option<f64> {
    if !sample.test.yields(Metric::Prefill) {
        return None;
    }
    let tokens = sample.test.rows() * sample.test.prompt_tokens();
    rate(tokens, ttft(sample)?)
}

/// Decode rate in tokens a second: rows x (n - 1) / (t_n - t_1). The first token belongs to
/// prefill and is never counted (the inverse of MLPerf Inference's TPOT, times the rows). `None`
/// for fewer than two tokens, and when no time passed.
pub fn decode_rate(sample: &Sample) -> Option<f64> {
    let (count, time) = steps(sample);
    rate(sample.test.rows() * count, time)
}

/// Time per output token in nanoseconds: (t_n - t_1) / (n - 1), the first token not counted
/// (MLPerf Inference's TPOT). `None` for fewer than two tokens.
pub fn tpot(sample: &Sample) -> Option<f64> {
    let (count, time) = steps(sample);
    (count > 0).then(|| time.0 as f64 / count as f64)
}

/// Mean time between ascending `times`, in nanoseconds. `None` for fewer than two.
fn mean_after_first(times: &[Nanos]) -> Option<f64> {
    let [first, rest @ ..] = times else {
        return None;
    };
    Some(rest.last()?.since(*first).0 as f64 / rest.len() as f64)
}

/// Trained tokens/s: rows x tokens x (n - 1) / (t_n - t_1), with t_i the end of step i.
/// The first step, in which frameworks compile and make room, is never counted. `None` for fewer than two steps.
pub fn training_rate(sample: &Sample) -> Option<f64> {
    let tokens = sample.test.rows() * sample.test.prompt_tokens();
    Some(tokens as f64 / (training_step(sample)? / 1e9)).filter(|rate| rate.is_finite())
}

/// Time of a training step in nanoseconds: (t_n - t_1) / (n - 1), the first one not counted. `None` for fewer than
/// two steps.
pub fn training_step(sample: &Sample) -> Option<f64> {
    sample.test.as_lora()?;
    mean_after_first(&sample.token_ns)
}

/// Mean power that the meter counted while the worker had the request, in watts, idle power
/// included. The filling of a context and the check of the logits are in that time.
pub fn watts(sample: &Sample) -> Option<f64> {
    let seconds = sample.wall_ns?.as_secs_f64();
    (seconds > 0.0).then_some(sample.energy_joules? / seconds)
}

/// Energy a token in joules: what the meter counted beyond `idle_watts`, over all tokens of the
/// repetition, prompt and generated. `None` where a context was filled before the clock started,
/// whose energy can't be told apart.
pub fn joules_per_token(sample: &Sample, idle_watts: f64) -> Option<f64> {
    let test = &sample.test;
    let net = sample.energy_joules? - idle_watts * sample.wall_ns?.as_secs_f64();
    test.yields(Metric::EnergyPerToken)
        .then(|| net / test.timed_tokens() as f64)
}

/// What the meter of the target's device showed while nothing ran.
pub(crate) fn idle_watts(result: &RunResult, target: &TargetId) -> Option<f64> {
    let device = target.placement.device.hardware();
    let mut meters = result.run.power.iter();
    meters.find(|meter| meter.device == device)?.idle_watts
}

/// Inter-token latencies: t_2 - t_1, t_3 - t_2, ... None for fewer than two tokens.
pub fn inter_token(sample: &Sample) -> impl Iterator<Item = Nanos> {
    let of_series = |times| <[Nanos]>::windows(times, 2);
    series(sample)
        .flat_map(of_series)
        .map(|pair| pair[1].since(pair[0]))
}

/// End-to-end latency: t_n, from the handing over of the prompt to the last token; the sum over the turns of a
/// conversation. `None` for a sample without tokens.
pub fn end_to_end(sample: &Sample) -> Option<Nanos> {
    if sample.turns.is_none() {
        return sample.token_ns.last().copied();
    }
    let mut last = series(sample).map(|times| times.last());
    last.try_fold(Nanos(0), |sum, time| Some(Nanos(sum.0 + time?.0)))
}

fn rate(tokens: usize, time: Nanos) -> Option<f64> {
    (tokens > 0 && time > Nanos(0)).then(|| tokens as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{resized, result, sample, target, test};

    #[test]
    fn the_first_token_ends_the_prefill() {
        let sample = sample(test(512, 3), &[256_000_000, 300_000_000, 340_000_000]);
        assert_eq!(ttft(&sample), Some(Nanos(256_000_000)));
        assert_eq!(prefill_rate(&sample), Some(2000.0));
    }

    #[test]
    fn the_first_token_never_counts_for_decode() {
        let sample = sample(test(512, 3), &[256_000_000, 296_000_000, 356_000_000]);
        assert_eq!(decode_rate(&sample), Some(20.0));
    }

    #[test]
    fn every_row_of_a_batch_counts() {
        let batched = resized(test(512, 2), |test| test.batch = 4);
        let sample = sample(batched, &[256_000_000, 356_000_000]);
        assert_eq!(prefill_rate(&sample), Some(8000.0));
        assert_eq!(decode_rate(&sample), Some(40.0));
    }

    #[test]
    fn prefill_alone_has_no_decode_rate_and_decode_alone_no_prefill_rate() {
        assert_eq!(decode_rate(&sample(test(512, 0), &[256])), None);
        assert_eq!(prefill_rate(&sample(test(0, 2), &[256, 300])), None);
    }

    #[test]
    fn no_time_gives_no_rate() {
        let sample = sample(test(512, 2), &[0, 0]);
        assert_eq!((prefill_rate(&sample), decode_rate(&sample)), (None, None));
    }

    #[test]
    fn latencies_lie_between_tokens_and_the_last_ends_it() {
        let sample = sample(test(8, 3), &[100, 110, 125]);
        assert_eq!(
            inter_token(&sample).collect::<Vec<_>>(),
            [Nanos(10), Nanos(15)]
        );
        assert_eq!(end_to_end(&sample), Some(Nanos(125)));
    }

    #[test]
    fn time_per_output_token_leaves_the_first_out() {
        assert_eq!(tpot(&sample(test(8, 3), &[100, 110, 125])), Some(12.5));
        assert_eq!(tpot(&sample(test(8, 1), &[100])), None);
    }

    #[test]
    fn a_conversations_figures_are_of_all_its_turns() {
        let sample = crate::fixture::chat_sample(&[&[400, 410, 425], &[50, 60], &[30, 40]]);
        assert_eq!(ttft(&sample), Some(Nanos(400)));
        assert_eq!(warm_ttft(&sample), Some(40.0));
        assert_eq!(end_to_end(&sample), Some(Nanos(425 + 60 + 40)));
        assert_eq!(tpot(&sample), Some(45.0 / 4.0));
        let near = |rate: Option<f64>, expected: f64| {
            assert!((rate.unwrap() / expected - 1.0).abs() < 1e-12, "{rate:?}");
        };
        near(decode_rate(&sample), 4.0 / 45e-9);
        let latencies = [10, 15, 10, 10].map(Nanos);
        assert_eq!(inter_token(&sample).collect::<Vec<_>>(), latencies);
        // Ten new tokens a turn, and seven generated.
        near(overall_rate(&sample), 37.0 / 525e-9);
        assert_eq!(prefill_rate(&sample), None);
        let reread = of_sample(Metric::ColdTtft, &sample, None);
        assert_eq!(reread, Some(900.0));
    }

    #[test]
    fn energy_is_counted_beyond_idle_power() {
        let metered = Sample {
            wall_ns: Some(Nanos(2_000_000_000)),
            energy_joules: Some(100.0),
            ..sample(test(8, 2), &[1, 2])
        };
        assert_eq!(watts(&metered), Some(50.0));
        // 100 J less 2 s of 20 W, over ten tokens.
        assert_eq!(joules_per_token(&metered, 20.0), Some(6.0));
        let deep = Sample {
            test: resized(metered.test, |test| test.depth = 5),
            ..metered
        };
        assert_eq!(joules_per_token(&deep, 20.0), None);
    }

    #[test]
    fn values_come_from_every_repetition_of_the_case_alone() {
        let (asked, other) = (test(8, 3), test(9, 3));
        let result = result(vec![
            sample(asked, &[100, 110, 125]),
            sample(other, &[900, 990, 999]),
            sample(asked, &[101, 121, 151]),
        ]);
        let values = |metric: Metric| values(metric, &result, &target(), &asked);
        assert_eq!(values(Metric::Ttft), [100.0, 101.0]);
        assert_eq!(values(Metric::EndToEnd), [125.0, 151.0]);
        assert_eq!(values(Metric::InterToken), [10.0, 15.0, 20.0, 30.0]);
        assert_eq!(values(Metric::Load), [5e8]);
        assert_eq!(values(Metric::PeakMemory), [1024.0, 1024.0]);
        assert!(values(Metric::DevicePeak).is_empty());
    }

    #[test]
    fn values_stay_with_the_process_that_measured_them() {
        let asked = test(8, 3);
        let of_process = |process, token_ns| Sample {
            process: Some(process),
            ..sample(asked, token_ns)
        };
        let result = result(vec![
            of_process(0, &[100, 110, 125]),
            of_process(0, &[101, 121, 151]),
            of_process(2, &[102, 112, 122]),
        ]);
        let values = |metric| values_by_process(metric, &result, &target(), &asked);
        assert_eq!(values(Metric::Ttft), [vec![100.0, 101.0], vec![102.0]]);
        let latencies = [vec![10.0, 15.0, 20.0, 30.0], vec![10.0, 10.0]];
        assert_eq!(values(Metric::InterToken), latencies);
        assert_eq!(values(Metric::Load), [[5e8]]);
        assert!(values(Metric::DevicePeak).is_empty());
    }
}
