//! What a reader sees of devices that were read while they worked.

use std::collections::BTreeMap;

use mlxbench_core::Nanos;
use mlxbench_core::results::{
    ClockRange, DeviceConditions, EnergyUnavailable, RunResult, ThrottleReason,
};
use mlxbench_report::{Beside, Format, render};

use crate::support::{BOTH, race};

/// Two targets: the first was hot once, the second at its power limit in a quarter of the readings.
fn run() -> RunResult {
    let mut result = race(2, &[BOTH], 5);
    let first = result.run.targets[0].clone();
    for sample in &mut result.samples {
        let own = sample.target == first;
        sample.throttled = own && sample.repetition == 2;
        let (clock, reason, share) = match (own, sample.throttled) {
            (true, true) => (900, ThrottleReason::HwThermalSlowdown, 1.0),
            (true, false) => (1980, ThrottleReason::SwPowerCap, 0.0),
            (false, _) => (1700, ThrottleReason::SwPowerCap, 0.25),
        };
        sample.conditions = Some(DeviceConditions {
            every_ns: Nanos(100_000_000),
            readings: 20,
            clock_mhz: Some(ClockRange {
                min: clock - 100,
                median: clock,
                max: clock,
            }),
            memory_clock_mhz: None,
            max_temperature_celsius: Some(71.5),
            mean_watts: Some(650.0),
            throttled_share: Some(share),
            throttle_reasons: BTreeMap::from([(reason, share)]),
        });
    }
    result.run.power[0].period_ns = Some(Nanos(100_000_000));
    let short = &mut result.samples[0];
    (short.energy_joules, short.energy_unavailable) =
        (None, Some(EnergyUnavailable::ShortRepetition));
    result
}

fn shown(format: Format) -> String {
    String::from_utf8(render(&[run()], &Beside::default(), format)).expect("UTF-8")
}

#[test]
fn markdown_has_a_table_of_conditions() {
    let text = shown(Format::Markdown);
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("Energy ("));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_terminal_has_the_warnings_and_a_note() {
    let text = shown(Format::Terminal { width: None });
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("throttled") || line.contains("limit"))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_was_throttled_is_no_repetition_of_its_row() {
    let report: serde_json::Value =
        serde_json::from_str(&shown(Format::Json)).expect("JSON of one result");
    let report = report.get(0).unwrap_or(&report);
    let row = &report["summary"]["rows"][0];
    assert_eq!(row["repetitions"], 4, "{row}");
    assert_eq!(row["throttled"]["measurements"], 1);
    assert_eq!(row["conditions"]["clock_mhz"]["min"], 1880);
}

#[test]
fn a_page_has_the_table_too() {
    let page = shown(Format::Html);
    assert!(page.contains("Device conditions"), "{page}");
    assert!(page.contains("1980 (1880 to 1980)"), "{page}");
    assert!(page.contains("1 repetition too short for energy"), "{page}");
}
