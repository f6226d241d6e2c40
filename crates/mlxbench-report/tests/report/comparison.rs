//! What a gate says, with every kind of row in it.

use mlxbench_analysis::comparison::Options;
use mlxbench_analysis::{Comparison, compare};
use mlxbench_core::Nanos;
use mlxbench_core::results::{
    Failure, FailureKind, RunResult, StreamKernel, StreamProbe, TargetId,
};
use mlxbench_report::{ComparisonFormat, render_comparison};

use crate::support::{BOTH, race};

/// Makes a target's repetitions so many times slower, each its own.
fn slow_down(result: &mut RunResult, target: &TargetId, times: fn(usize) -> f64) {
    for sample in result.samples.iter_mut().filter(|s| s.target == *target) {
        for time in &mut sample.token_ns {
            *time = Nanos((time.0 as f64 * times(sample.repetition)) as u64);
        }
    }
}

/// Leaves a target out, as if the config hadn't named it.
fn forget(result: &mut RunResult, target: &TargetId) {
    result.run.targets.retain(|other| other != target);
    result.samples.retain(|s| s.target != *target);
}

fn read_memory_in(result: &mut RunResult, ns: u64) {
    result.streams = vec![StreamProbe {
        kernel: StreamKernel::Read,
        threads: 2,
        moved_bytes: 1 << 30,
        time_ns: Nanos(ns),
    }];
}

/// One target slower, one faster, one that nobody can tell, one of another version, one that fails, one
/// that is gone, and a new one.
fn comparison() -> Comparison {
    let mut base = race(7, &[BOTH], 12);
    let mut new = base.clone();
    let targets = base.run.targets.clone();
    read_memory_in(&mut base, 100_000_000);
    read_memory_in(&mut new, 117_000_000);
    new.run.started = "2026-11-24T07:00:00Z".parse().expect("a time");
    slow_down(&mut new, &targets[0], |_| 1.12);
    slow_down(&mut new, &targets[1], |_| 0.88);
    slow_down(
        &mut new,
        &targets[2],
        |at| if at % 3 == 0 { 1.3 } else { 1.0 },
    );
    new.targets[3].identity.version = "0.12.0 <b>|`".into();
    new.samples.retain(|s| s.target != targets[4]);
    new.failures.push(Failure {
        target: targets[4].clone(),
        test: None,
        kind: FailureKind::Died,
        message: "killed: 9%, \u{1b}[31mout of memory".into(),
        retried: false,
    });
    forget(&mut new, &targets[5]);
    forget(&mut base, &targets[6]);
    compare(&base, &new, &Options::default())
}

fn shown(format: ComparisonFormat) -> String {
    let bytes = render_comparison(&comparison(), format);
    String::from_utf8(bytes).expect("comparisons are UTF-8")
}

#[test]
fn for_a_terminal() {
    insta::assert_snapshot!(shown(ComparisonFormat::Text));
}

#[test]
fn for_a_pull_request() {
    let shown = shown(ComparisonFormat::Markdown);
    // Markup of others stays text.
    assert!(shown.contains("0.12.0 \\<b\\>\\|\\`"), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn for_githubs_checks() {
    let shown = shown(ComparisonFormat::Annotations);
    assert!(shown.lines().all(|line| line.starts_with("::")), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn for_every_other_ci() {
    let shown = shown(ComparisonFormat::Junit);
    roxmltree::Document::parse(&shown).expect("JUnit is XML");
    insta::assert_snapshot!(shown);
}

#[test]
fn for_scripts() {
    let json: serde_json::Value =
        serde_json::from_str(&shown(ComparisonFormat::Json)).expect("JSON");
    assert_eq!(json["gate"], "fail");
    assert_eq!(json["rows"][0]["verdict"], "worse");
    assert_eq!(json["rows"][0]["metric"], "decode");
    assert!(json["rows"][0]["bounds"]["high"].as_f64() < Some(0.95));
    assert_eq!(json["vanished"][0], "candle/cpu/bf16 pp64+tg4");
}

#[test]
fn nothing_in_common_is_said_to_be_nothing() {
    let mut other = race(2, &[BOTH], 3);
    other.samples.clear();
    let nothing = compare(&race(2, &[BOTH], 3), &other, &Options::default());
    let shown = render_comparison(&nothing, ComparisonFormat::Text);
    let shown = String::from_utf8(shown).expect("UTF-8");
    assert!(
        shown.ends_with("inconclusive: nothing was measured in both\n"),
        "{shown}"
    );
}
