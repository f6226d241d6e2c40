//! What meters and sensors told of the devices, in words.

use mlxbench_analysis::{CaseConditions, Row, Throttled};
use mlxbench_core::results::{
    ClockRange, EnergyUnavailable, PowerMeter, RunResult, Sample, ThrottleReason,
};

use crate::{Digest, units};

/// The columns of the table of conditions.
pub(crate) const HEADER: [&str; 7] = [
    "target",
    "test",
    "clock, MHz",
    "memory clock, MHz",
    "max °C",
    "at the power limit",
    "throttled",
];

/// One line a row whose device told of itself.
pub(crate) fn rows(digest: &Digest<'_>) -> Vec<[String; HEADER.len()]> {
    let rows = digest.summary.rows.iter();
    let told = rows.filter_map(|row| Some((row, row.conditions.as_ref()?)));
    told.map(|(row, conditions)| cells(digest, row, conditions))
        .collect()
}

fn cells(digest: &Digest<'_>, row: &Row, conditions: &CaseConditions) -> [String; HEADER.len()] {
    let celsius = conditions.max_temperature_celsius;
    let throttled = row.throttled.as_ref();
    [
        digest.name(&row.target).to_string(),
        row.test.to_string(),
        conditions.clock_mhz.map(clock).unwrap_or_default(),
        conditions.memory_clock_mhz.map(clock).unwrap_or_default(),
        celsius
            .map(|celsius| format!("{celsius:.0}"))
            .unwrap_or_default(),
        power_limited(conditions)
            .map(units::share)
            .unwrap_or_default(),
        throttled.map(measurements).unwrap_or_default(),
    ]
}

/// `1980`, `1740 (1410 to 1980)`.
fn clock(ClockRange { min, median, max }: ClockRange) -> String {
    match min == max {
        true => median.to_string(),
        false => format!("{median} ({min} to {max})"),
    }
}

/// The share of readings at the power limit; `None` where the device tells no reasons.
pub(crate) fn power_limited(conditions: &CaseConditions) -> Option<f64> {
    let reasons = conditions.throttle_reasons.as_ref()?;
    Some(
        reasons
            .get(&ThrottleReason::SwPowerCap)
            .copied()
            .unwrap_or(0.0),
    )
}

/// `2 of 7 measurements: hw_thermal_slowdown`.
pub(crate) fn measurements(throttled: &Throttled) -> String {
    let Throttled {
        measurements,
        of,
        reasons,
        ..
    } = throttled;
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
    let why = match names.is_empty() {
        true => "a slow clock".to_owned(),
        false => names.join(", "),
    };
    format!("{measurements} of {of} measurements: {why}")
}

/// One line a meter: what it is, what it shows when idle, and for which repetitions it tells nothing.
pub(crate) fn meters(result: &RunResult) -> Vec<String> {
    let meters = result.run.power.iter();
    meters.map(|meter| words(result, meter)).collect()
}

fn words(result: &RunResult, meter: &PowerMeter) -> String {
    let source = meter.source.as_ref().map(|source| format!("by {source}"));
    let idle = meter.idle_watts;
    let idle = idle.map(|watts| format!("{} when idle", units::watts(watts)));
    let period = meter.period_ns;
    let period = period.map(|ns| format!("seen to change every {}", units::time(ns.0 as f64)));
    let without = |why: EnergyUnavailable| {
        let lost = |sample: &&Sample| {
            sample.target.placement.device.hardware() == meter.device
                && sample.energy_unavailable == Some(why)
        };
        Some(result.samples.iter().filter(lost).count()).filter(|&count| count > 0)
    };
    let repetitions = |count| match count {
        1 => "1 repetition".to_owned(),
        _ => format!("{count} repetitions"),
    };
    let short = without(EnergyUnavailable::ShortRepetition).map(|count| {
        let count = repetitions(count);
        format!("{count} too short for energy (under 5 periods)")
    });
    let unreadable = without(EnergyUnavailable::Unreadable).map(|count| {
        let count = repetitions(count);
        format!("{count} in which it couldn't be read")
    });
    let broken = meter.unavailable.as_ref();
    let broken = broken.map(|why| format!("not measured: {why}"));
    let facts = [source, idle, period, short, unreadable, broken];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    format!("{}: {}", meter.device, facts.join(", "))
}
