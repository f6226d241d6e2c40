//! Results that older versions wrote.

use std::collections::BTreeSet;
use std::fs;

use mlxbench_core::generate::Mode;
use mlxbench_core::results::{PeakSince, SCHEMA_VERSION, TargetId, Verdict, migrate};

#[test]
fn results_that_are_kept_are_read() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../results");
    let mut read = 0;
    for folder in fs::read_dir(kept).unwrap() {
        let folder = folder.unwrap().path();
        for file in folder
            .is_dir()
            .then(|| fs::read_dir(folder).unwrap())
            .into_iter()
            .flatten()
        {
            let file = file.unwrap().path();
            let text = || fs::read_to_string(&file).unwrap();
            let error = match file.extension().and_then(|ending| ending.to_str()) {
                Some("json") => migrate::result(&text()).err(),
                Some("jsonl") => text().lines().find_map(|line| migrate::record(line).err()),
                _ => continue,
            };
            assert_eq!(error, None, "{}", file.display());
            read += 1;
        }
    }
    assert!(read > 0);
}

#[test]
fn a_result_of_version_1_is_read() {
    let result = migrate::result(include_str!("../results/v1.json")).unwrap();
    assert_eq!(result.schema_version, SCHEMA_VERSION);
    assert_eq!(result.run.tests[0].to_string(), "pp8+tg5 sync");
    assert!(
        result
            .run
            .tests
            .iter()
            .all(|test| test.mode() == Mode::Synchronous)
    );
    // Three repetitions of two tests, two targets that could run and one that is missing.
    assert_eq!(result.samples.len(), 12);
    let [first, second] = &result.run.tests[..] else {
        panic!("two tests")
    };
    for target in &result.run.targets[..2] {
        assert_eq!(result.samples_of(target, first).count(), 3);
        assert_eq!(result.samples_of(target, second).count(), 3);
    }
    assert_eq!(result.failures.len(), 1);
    assert_eq!(result.equivalences[1].verdict, Verdict::Equivalent);
    assert_eq!(result.samples[0].peak_memory_since, PeakSince::Process);
    assert_eq!(result.run.model.config, None);
}

#[test]
fn a_result_of_version_2_is_read() {
    let result = migrate::result(include_str!("../results/v2.json")).unwrap();
    assert_eq!(result.schema_version, SCHEMA_VERSION);
    let names = |ids: &mut dyn Iterator<Item = &TargetId>| -> Vec<String> {
        ids.map(TargetId::to_string).collect()
    };
    let all = [
        "candle/cpu/f32",
        "candle/cpu/bf16",
        "failing/cpu/f32",
        "failing/cpu/f16",
    ];
    assert_eq!(names(&mut result.run.targets.iter()), all);
    let reference = result.run.settings.reference.as_ref();
    assert_eq!(reference.unwrap().to_string(), all[0]);
    let loaded = &all[..3];
    let of_facts = names(&mut result.targets.iter().map(|facts| &facts.id));
    assert_eq!(BTreeSet::from_iter(of_facts), names_of(loaded));
    let compared = names(&mut result.equivalences.iter().map(|known| &known.target));
    assert_eq!(BTreeSet::from_iter(compared), names_of(loaded));
    let probed = names(&mut result.products.iter().map(|probe| &probe.target));
    assert_eq!(BTreeSet::from_iter(probed), names_of(loaded));
    let failed = names(&mut result.failures.iter().map(|failure| &failure.target));
    assert_eq!(BTreeSet::from_iter(failed), names_of(&all[2..]));

    let tests = ["pp8+tg3", "pp16 @ d4 b2 sync"];
    let [first, second] = &result.run.tests[..] else {
        panic!("two tests")
    };
    assert_eq!([first.to_string(), second.to_string()], tests);
    assert_eq!(result.warmups.len(), 5);
    assert_eq!(result.stopped.len(), 2);
    // Two repetitions of five cases; the sixth failed.
    assert_eq!(result.samples.len(), 10);
    assert_eq!(result.samples_of(&result.run.targets[2], first).count(), 0);
    assert_eq!(result.samples_of(&result.run.targets[2], second).count(), 2);
    let failed = result.failures_of(&result.run.targets[2]).next().unwrap();
    assert_eq!(failed.test.as_ref(), Some(first));
}

fn names_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_journal_of_version_2_is_for_the_build_that_wrote_it() {
    let journal = include_str!("../results/v2.journal.jsonl");
    let message = migrate::record(journal.lines().next().unwrap()).unwrap_err();
    assert!(
        message.contains("schema version 2 or below: let that one continue it"),
        "{message}"
    );
    let message = migrate::record(r#"{"record": "dream"}"#).unwrap_err();
    assert!(message.contains("unknown variant `dream`"), "{message}");
}

#[test]
fn what_is_written_today_is_read_today() {
    let result = migrate::result(include_str!("../results/v1.json")).unwrap();
    let written = serde_json::to_string(&result).unwrap();
    assert_eq!(migrate::result(&written).unwrap(), result);
}

#[test]
fn a_version_of_the_future_and_no_result_are_refused() {
    let message = migrate::result(r#"{"schema_version": 99}"#).unwrap_err();
    assert!(message.contains("reads 1 to"), "{message}");
    let message = migrate::result("{}").unwrap_err();
    assert!(message.contains("schema_version"), "{message}");
    let message = migrate::result(r#"{"schema_version": 1}"#).unwrap_err();
    assert!(message.contains("missing field `run`"), "{message}");
}
