//! What a reader must know before believing a run's figures.

use std::collections::BTreeMap;

use mlxbench_analysis::stats::FEWEST_FOR_INTERVAL;
use mlxbench_analysis::{Drift, Drifting, Estimate, Row, drifts, machine_drift, unsteady_warmup};
use mlxbench_core::probe::WORKING_SET_BYTES;
use mlxbench_core::results::{Conditions, PowerSource, RunResult, StopReason, TargetFacts};

use crate::conditions::{measurements, power_limited};
use crate::{Digest, jumps, quantisation, serving, units};

/// Share of the CPUs that others may keep busy before it is worth a word.
const BUSY: f64 = 0.1;

/// Share of a row's readings at the power limit that is worth a word.
const LIMITED: f64 = 0.1;

/// Standard deviation between processes that is worth a word where it exceeds that of repetitions.
const LUCK: f64 = 0.05;

/// One sentence a warning; none for a run as it should be.
pub(crate) fn warnings(digest: &Digest<'_>) -> Vec<String> {
    let Digest {
        result, summary, ..
    } = digest;
    let mut warnings = of_build_and_run(result);
    warnings.extend(of_machine(&result.run.conditions, "when the run started"));
    if let Some(after) = &result.conditions_after {
        let hot = thermal(after, "when the run ended");
        warnings.extend(hot);
    }
    warnings.extend(of_luck(&summary.rows));
    warnings.extend(machine_drift(summary).map(|drift| {
        let change = change(drift.change);
        format!("the machine drifted: over the run, times {change} (all cases together)")
    }));
    warnings.extend(
        drifts(result, summary)
            .iter()
            .map(|drift| of_drift(digest, drift)),
    );
    warnings.extend(summary.rows.iter().flat_map(|row| of_case(digest, row)));
    warnings.extend(of_devices(digest));
    warnings.extend(of_meters(result));
    warnings.extend(jumps::lines(digest));
    warnings.extend(of_targets(digest));
    warnings.extend(of_fidelity(digest));
    warnings.extend(serving::caveats(digest));
    warnings
}

fn of_build_and_run(result: &RunResult) -> Vec<String> {
    let run = &result.run;
    let debug = (run.mlxbench.profile == "debug")
        .then(|| "built without optimisation: figures mean little".to_owned());
    let fallback = run.model.fallback_reason.as_ref().map(|reason| {
        let model = &run.model.source;
        format!("the config's fallback model {model} was taken: {reason}")
    });
    let unfinished = result
        .finished
        .is_none()
        .then(|| "the run was cut short: `mlxbench run CONFIG --resume` continues it".to_owned());
    let resumed = (!result.resumed.is_empty()).then(|| {
        let times = result.resumed.len();
        format!("the run was continued later, {times} times: the machine may have changed")
    });
    let (repetitions, processes) = (run.settings.repetitions, run.settings.processes());
    let few = processes == 1 && repetitions < FEWEST_FOR_INTERVAL;
    let few = (few && run.settings.interval_percent.is_none()).then(|| {
        format!(
            "no interval (±): it takes two processes, or {FEWEST_FOR_INTERVAL} repetitions in one; the config \
             says {repetitions}"
        )
    });
    let stopped = result.stopped.iter().filter_map(|stopped| {
        let (test, repetitions) = (stopped.test, stopped.repetitions);
        match stopped.reason {
            StopReason::MaxSeconds => Some(format!(
                "{test} ended after {repetitions} repetitions: max_seconds was reached"
            )),
            StopReason::MaxRepetitions => Some(format!(
                "{test} ended after {repetitions} repetitions with wider intervals than asked for"
            )),
            StopReason::MaxMinutes => Some(format!(
                "{test} ended after {repetitions} rounds undecided: --max-minutes was reached"
            )),
            StopReason::Repetitions | StopReason::Interval | StopReason::Decided => None,
        }
    });
    let general = [debug, fallback, unfinished, resumed, few];
    let model = run.model.warnings.iter().cloned();
    let general = general.into_iter().flatten();
    general.chain(model).chain(stopped).collect()
}

fn of_machine(conditions: &Conditions, when: &str) -> Vec<String> {
    let battery = (conditions.power_source == Some(PowerSource::Battery))
        .then(|| "measured on battery, where a machine may be slower".to_owned());
    let saving = (conditions.low_power_mode == Some(true))
        .then(|| "measured in low-power mode, in which the machine is slower".to_owned());
    let busy = conditions.cpu_busy.filter(|&busy| busy > BUSY).map(|busy| {
        let busy = units::share(busy);
        format!("other processes used {busy} of the CPUs {when}")
    });
    let governor = conditions.frequency_governor.as_deref();
    let scaling = governor
        .filter(|&governor| governor != "performance")
        .map(|governor| {
            format!("the CPU's clock is scaled by the governor `{governor}`: speeds may vary")
        });
    let hot = thermal(conditions, when);
    [battery, saving, busy, scaling, hot]
        .into_iter()
        .flatten()
        .collect()
}

fn thermal(conditions: &Conditions, when: &str) -> Option<String> {
    let pressure = conditions.thermal_pressure.as_deref()?;
    (pressure != "nominal").then(|| format!("the machine was hot {when}: pressure {pressure}"))
}

/// Whether intervals leave out what a process has by luck.
fn of_luck(rows: &[Row]) -> Option<String> {
    let interval = |rate: Option<Estimate>| rate.is_some_and(|rate| rate.interval.is_some());
    let alone = rows.iter().any(|row| {
        let rates = [row.prefill_tokens_per_second, row.decode_tokens_per_second];
        row.processes == 1 && rates.into_iter().any(interval)
    });
    alone.then(|| {
        "one process a target: no interval (±) covers a process' luck (`processes` in [measure])".to_owned()
    })
}

fn of_case(digest: &Digest<'_>, row: &Row) -> Vec<String> {
    let result = digest.result;
    let case = format!("{} {}", digest.name(&row.target), row.test);
    let outliers = row
        .outliers
        .filter(|outliers| outliers.total() > 0)
        .map(|outliers| {
            let (total, severe) = (outliers.total(), outliers.low_severe + outliers.high_severe);
            let all = row.repetitions;
            format!("{case}: {total} of {all} repetitions are outliers, {severe} of them severe")
        });
    let spread = row.process_spread;
    let lucky = spread.filter(|spread| spread.between >= LUCK && spread.between > spread.within);
    let lucky = lucky.map(|spread| {
        let (between, within) = (units::share(spread.between), units::share(spread.within));
        format!(
            "{case}: its processes differ by {between}, repetitions of one by {within}: more processes narrow \
             the interval, more repetitions don't"
        )
    });
    let unsteady = unsteady_warmup(result, &row.target, &row.test).map(|warmup| {
        let times = warmup.end_to_end_ns.len();
        format!("{case} wasn't steady after {times} repetitions of warm-up")
    });
    let beyond = |share: &Option<Estimate>, what: &str| {
        let share = share.filter(|share| share.median > 1.0)?;
        let share = units::share(share.median);
        Some(format!(
            "{case}: {what} reaches {share} of the measured limit: {}",
            why_beyond(result, row)
        ))
    };
    let throttled = row.throttled.as_ref().map(|throttled| {
        let what = measurements(throttled);
        match throttled.count {
            true => format!("{case}: the device was throttled in {what}; no other measurement is left, so these count"),
            false => format!("{case}: the device was throttled in {what}; excluded"),
        }
    });
    let uneven = row
        .conditions
        .as_ref()
        .and_then(|told| told.uneven_clock_mhz);
    let uneven = uneven.map(|(low, high)| {
        format!("{case}: the device's clock was {low} MHz in one repetition, {high} in another")
    });
    let beyond = [beyond(&row.mfu, "prefill"), beyond(&row.mbu, "decode")];
    let mut warnings: Vec<String> = beyond.into_iter().flatten().collect();
    let more = [outliers, lucky, unsteady, throttled, uneven];
    warnings.extend(more.into_iter().flatten());
    warnings
}

/// Devices that ran into their power limit: no fault, but another limit makes other figures.
fn of_devices(digest: &Digest<'_>) -> Vec<String> {
    let told = digest.summary.rows.iter().filter_map(|row| {
        let share = power_limited(row.conditions.as_ref()?)?;
        (share > LIMITED).then_some((row.target.placement.device.hardware(), row, share))
    });
    let mut limited: BTreeMap<_, Vec<(&Row, f64)>> = BTreeMap::new();
    for (device, row, share) in told {
        limited.entry(device).or_default().push((row, share));
    }
    let lines = limited.into_iter().filter_map(|(device, rows)| {
        let (row, most) = rows.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let (count, share) = (rows.len(), units::share(most));
        let rows = if count == 1 { "row" } else { "rows" };
        Some(format!(
            "{device} was at its power limit in {count} {rows}, most in {} {} ({share} of the \
             readings): the figures depend on that limit",
            digest.name(&row.target),
            row.test
        ))
    });
    lines.collect()
}

/// Meters that turned out to be broken.
fn of_meters(result: &RunResult) -> Vec<String> {
    let meters = result.run.power.iter();
    let broken = meters.filter_map(|meter| {
        let (device, source, why) = (&meter.device, meter.source.as_ref()?, &meter.unavailable);
        let why = why.as_ref()?;
        Some(format!(
            "{device}: no energy, since {source} can't be right: {why}"
        ))
    });
    broken.collect()
}

/// What is to be known of the fidelity of quantised weights: a line a reason.
fn of_fidelity(digest: &Digest<'_>) -> Vec<String> {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    let costs = quantisation::costs(digest).into_iter();
    for cost in costs.filter(|cost| cost.figures.is_some()) {
        let (Some(reason), scheme) = (&cost.reason, cost.weights.name()) else {
            continue;
        };
        match said.iter_mut().find(|(known, _)| known == reason) {
            Some((_, schemes)) => schemes.push(scheme),
            None => said.push((reason, vec![scheme])),
        }
    }
    let lines = said.into_iter();
    let lines =
        lines.map(|(reason, schemes)| format!("fidelity of {}: {reason}", schemes.join(" and ")));
    lines.collect()
}

fn of_drift(digest: &Digest<'_>, drift: &Drift<'_>) -> String {
    let case = format!("{} {}", digest.name(&drift.row.target), drift.row.test);
    match drift.what {
        Drifting::Time => {
            let change = change(drift.change);
            format!("{case} drifted: from the first repetition to the last, times {change}")
        }
        Drifting::Memory => {
            let grown = units::share(drift.change);
            format!("{case}: the worker's memory grew by {grown} over the repetitions: it leaks")
        }
    }
}

/// How a share above 100 % can be: the limit is that of main memory and of large products.
fn why_beyond(result: &RunResult, row: &Row) -> &'static str {
    let storage = result.storage_of(&row.target);
    let weights = storage.map(|storage| storage.weights_bytes());
    // What doesn't exceed the probes' working set may live in a cache.
    if weights.is_some_and(|bytes| bytes < WORKING_SET_BYTES) {
        "the model is so small that caches hold its weights"
    } else {
        "the probes were disturbed, or the framework does less than all of the work"
    }
}

fn of_targets(digest: &Digest<'_>) -> Vec<String> {
    let result = digest.result;
    let on_cpu = |facts: &&TargetFacts| facts.id.placement.device.kind() == "cpu";
    let uneven = result.targets.iter().filter(on_cpu).filter_map(|facts| {
        let asked = facts.id.threads.map_or(result.run.settings.threads, Into::into);
        let (id, threads) = (digest.name(&facts.id), facts.threads);
        (threads != asked).then(|| {
            format!(
                "{id} uses {threads} of the {asked} CPU threads asked for: its libraries can't be set to more"
            )
        })
    });
    uneven.collect()
}

fn change(change: f64) -> String {
    let way = if change > 0.0 { "rose" } else { "fell" };
    format!("{way} by {}", units::share(change.abs()))
}
