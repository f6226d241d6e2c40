//! Results that older versions wrote.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::{PeakSince, SCHEMA_VERSION, Verdict, migrate};

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
            .all(|test| test.mode == Mode::Synchronous)
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
