//! Names of values, by which github-action-benchmark follows them.

use std::collections::HashSet;

use mlxbench_core::results::RunResult;
use mlxbench_report::{Beside, Format, render};
use serde_json::Value;

use crate::support::{BOTH, race};

fn names(results: &[RunResult], format: Format) -> Vec<String> {
    let bytes = render(results, &Beside::default(), format);
    let entries: Vec<Value> = serde_json::from_slice(&bytes).expect("an array");
    let names = entries
        .iter()
        .map(|entry| entry["name"].as_str().expect("a name").to_owned());
    names.collect()
}

fn with(change: impl FnOnce(&mut RunResult)) -> RunResult {
    let mut result = race(1, &[BOTH], 5);
    change(&mut result);
    result
}

#[test]
fn one_result_has_plain_names() {
    let names = names(&[with(|_| {})], Format::BiggerIsBetter);
    assert_eq!(names[0], "gemma-3-270m: candle/cpu/f32 pp64+tg4 prefill");
}

#[test]
fn several_results_say_what_differs() {
    let plain = || with(|_| {});
    for (other, ends) in [
        (
            with(|result| result.run.name = "other".into()),
            ["(config=race)", "(config=other)"],
        ),
        (
            with(|result| result.run.settings.chunk = 64),
            ["(chunk=512)", "(chunk=64)"],
        ),
        (
            with(|result| result.run.machine.cpu = "M5".into()),
            ["(cpu=a processor)", "(cpu=M5)"],
        ),
        (
            with(|result| result.run.mlxbench.commit = None),
            ["(commit=deee1a1)", "decode"],
        ),
        (plain(), ["(#1)", "(#2)"]),
    ] {
        let names = names(&[plain(), other], Format::BiggerIsBetter);
        assert!(
            names[1].ends_with(ends[0]) && names[3].ends_with(ends[1]),
            "{names:?}"
        );
    }
}

#[test]
fn no_two_values_have_one_name() {
    let results = [
        with(|_| {}),
        with(|_| {}),
        with(|result| result.run.settings.seed = 1),
        race(4, &[BOTH], 5),
    ];
    for format in [Format::BiggerIsBetter, Format::SmallerIsBetter] {
        let names = names(&results, format);
        let distinct: HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}

#[test]
fn benchmarks_of_several_results_have_names_of_their_own_for_bencher() {
    let results = [
        with(|_| {}),
        with(|result| result.run.machine.cpu = "M5".into()),
    ];
    let bytes = render(&results, &Beside::default(), Format::Bencher);
    let benchmarks: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes).expect("an object");
    assert_eq!(benchmarks.len(), 2, "{benchmarks:?}");
    for (name, measures) in &benchmarks {
        assert!(name.contains("(cpu="), "{name}");
        let decode = &measures["decode-tokens-per-second"];
        let value = |key: &str| decode[key].as_f64().expect("a number");
        assert!(value("lower_value") <= value("value") && value("value") <= value("upper_value"));
    }
}
