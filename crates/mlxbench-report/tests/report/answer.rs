//! The first lines of a report: who is fastest, in each precision and of all.

use mlxbench_core::Nanos;
use mlxbench_core::results::{RunResult, TargetId, Verdict, Warmup};
use mlxbench_report::{Beside, Format, render};

use crate::support::{BOTH, quantised, race, rename};

/// Headline and standings, as Markdown has them, of a run with these targets, the fastest first.
fn answer(targets: &[&str], change: impl FnOnce(&mut RunResult)) -> String {
    let mut result = race(targets.len(), &[BOTH], 5);
    for (at, id) in targets.iter().enumerate() {
        let id: TargetId = id.parse().expect("a target");
        rename(&mut result, at, id);
    }
    change(&mut result);
    said(&result)
}

fn said(result: &RunResult) -> String {
    let markdown = render(
        std::slice::from_ref(result),
        &Beside::default(),
        Format::Markdown,
    );
    let markdown = String::from_utf8(markdown).expect("reports are UTF-8");
    let lines = markdown.lines();
    let lines = lines.filter(|line| line.starts_with("**") || line.starts_with("- Generation"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn one_precision_names_every_rival() {
    insta::assert_snapshot!(answer(
        &["tch/cpu/bf16", "mlx/cpu/bf16", "candle/cpu/bf16"],
        |_| {}
    ));
}

#[test]
fn each_rival_has_its_ratio_with_an_interval() {
    let mut result = race(4, &[BOTH], 5);
    for (at, name) in ["tch", "mlx", "candle", "other"].iter().enumerate() {
        rename(&mut result, at, format!("{name}/cpu/bf16").parse().unwrap());
    }
    let markdown = render(&[result], &Beside::default(), Format::Markdown);
    let markdown = String::from_utf8(markdown).unwrap();
    let sure = markdown.lines().find(|line| line.contains("How sure?"));
    insta::assert_snapshot!(sure.unwrap());
}

#[test]
fn of_many_precisions_those_that_are_not_quantised_are_named() {
    let precisions = ["q4-bf16", "q4-f32", "q8-bf16", "q8-f32", "bf16", "f32"];
    let targets = precisions.map(|precision| format!("tch/cpu/{precision}"));
    insta::assert_snapshot!(answer(&targets.each_ref().map(String::as_str), |_| {}));
}

#[test]
fn several_precisions_are_never_mixed() {
    let targets = [
        "candle/cpu/f32",
        "tch/cpu/bf16",
        "candle/cpu/bf16",
        "tch/cpu/f32",
    ];
    insta::assert_snapshot!(answer(&targets, |_| {}));
}

#[test]
fn a_quantised_winner_has_its_precision_and_fidelity() {
    insta::assert_snapshot!(said(&quantised()));
}

#[test]
fn those_that_tie_are_said_to_tie() {
    let tie = |result: &mut RunResult| {
        let [first, second] = [0, 1].map(|at| result.run.targets[at].clone());
        let times = result
            .samples
            .iter()
            .filter(|sample| sample.target == first);
        let times: Vec<Vec<Nanos>> = times.map(|sample| sample.token_ns.clone()).collect();
        let own = result
            .samples
            .iter_mut()
            .filter(|sample| sample.target == second);
        for (sample, times) in own.zip(times.into_iter().rev()) {
            sample.token_ns = times;
        }
    };
    insta::assert_snapshot!(answer(
        &["tch/cpu/bf16", "mlx/cpu/bf16", "candle/cpu/bf16"],
        tie
    ));
}

#[test]
fn who_cannot_lead_is_named_with_the_reason() {
    let spoil = |result: &mut RunResult| {
        result.warmups.push(Warmup {
            target: result.run.targets[0].clone(),
            test: result.run.tests[0],
            end_to_end_ns: [9, 6, 4, 2].map(|ms| Nanos(ms * 1_000_000)).into(),
            steady: false,
            process: None,
        });
        result.equivalences[2].verdict = Verdict::Different;
    };
    insta::assert_snapshot!(answer(
        &["tch/cpu/bf16", "mlx/cpu/bf16", "candle/cpu/bf16"],
        spoil
    ));
}

#[test]
fn of_many_rivals_a_headline_names_three() {
    let frameworks = [
        "tch",
        "mlx",
        "candle",
        "llama-cpp",
        "torch-2.12.1",
        "torch-2.13.0",
    ];
    let targets = frameworks.map(|framework| format!("{framework}/cpu/f16"));
    insta::assert_snapshot!(answer(&targets.each_ref().map(String::as_str), |_| {}));
}

#[test]
fn targets_of_one_framework_are_told_apart() {
    insta::assert_snapshot!(answer(&["tch/cuda/bf16", "tch/cpu/bf16"], |_| {}));
}
