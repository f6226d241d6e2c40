//! What a person or a script sees, of one run with every kind of row in it.

use mlxbench_core::backend::OWN_KERNEL;
use mlxbench_core::results::RunResult;
use mlxbench_report::{Beside, Format, render};

use crate::support::{BOTH, quantised, race, run};

fn text(results: &[RunResult], format: Format) -> String {
    String::from_utf8(render(results, &Beside::default(), format)).expect("reports are UTF-8")
}

#[test]
fn terminal() {
    let shown = text(&[run()], Format::Terminal { width: None });
    insta::assert_snapshot!(shown);
}

#[test]
fn narrow_terminal() {
    let width = Some(80);
    let shown = text(&[run()], Format::Terminal { width });
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn markdown() {
    insta::assert_snapshot!(text(&[run()], Format::Markdown));
}

#[test]
fn csv() {
    insta::assert_snapshot!(text(&[run()], Format::Csv));
}

#[test]
fn json() {
    insta::assert_snapshot!(text(&[run()], Format::Json));
}

#[test]
fn sql() {
    insta::assert_snapshot!(text(&[run()], Format::Sql));
}

#[test]
fn tex() {
    insta::assert_snapshot!(text(&[quantised()], Format::Tex));
}

#[test]
fn bencher() {
    insta::assert_snapshot!(text(&[quantised()], Format::Bencher));
}

#[test]
fn a_run_that_was_cut_short() {
    let mut result = run();
    result.run.model.name = "synthetic:gemma-3-270m".into();
    result.run.model.source = "synthetic:gemma-3-270m".into();
    result.run.model.fallback_reason = None;
    result.run.mlxbench.profile = "release".into();
    result.run.settings.repetitions = 2;
    result.samples.truncate(2);
    result.failures.clear();
    result.finished = None;
    insta::assert_snapshot!(text(&[result], Format::Terminal { width: None }));
}

#[test]
fn a_report_in_json_reads_as_a_result() {
    let bytes = render(&[run()], &Beside::default(), Format::Json);
    let result: RunResult = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(result, run());
}

#[test]
fn several_results_stand_one_after_the_other() {
    let mut second = run();
    second.run.name = "second".into();
    let results = [run(), second];

    let markdown = text(&results, Format::Markdown);
    let headings: Vec<&str> = markdown.lines().filter(|l| l.starts_with("## ")).collect();
    assert_eq!(headings, ["## quick", "## second"]);

    let csv = text(&results, Format::Csv);
    assert_eq!(csv.matches("mlxbench_version").count(), 1);

    let json: Vec<RunResult> = serde_json::from_str(&text(&results, Format::Json)).unwrap();
    assert_eq!(json, results);
}

#[test]
fn work_of_an_adapters_own_is_said_at_its_rows() {
    let mut own = run();
    let way = format!("{OWN_KERNEL}blocks of rows");
    let kernels = &mut own.targets[0].kernels;
    kernels.insert("attention".into(), "flash".into());
    kernels.insert("product of a single row".into(), way);
    let shown = text(&[own], Format::Markdown);
    assert!(shown.contains("| product of a single row: the adapter's own: blocks of rows"));
    assert!(!shown.contains("flash"), "that is the framework's");
}

#[test]
fn a_device_with_a_name_of_its_own_is_part_of_the_machine() {
    let mut on_gpu = run();
    let own = on_gpu.run.machine.cpu.clone();
    for (facts, name) in on_gpu.targets.iter_mut().zip(["NVIDIA H100", &own]) {
        facts.id.placement.device = "cuda".parse().unwrap();
        facts.device_description = Some(name.into());
    }
    let shown = text(&[on_gpu], Format::Terminal { width: None });
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains(&format!(" on {own} with NVIDIA H100, ")),
        "{shown}"
    );
}

#[test]
fn a_terminal_gets_the_answer_first_and_the_next_command_last() {
    let beside = Beside {
        next: Some("mlxbench report results/quick/1.json -o quick.html".into()),
        ..Beside::default()
    };
    let results = [race(33, &[BOTH], 5)];
    for width in [80, 60] {
        let shown = render(&results, &beside, Format::Terminal { width: Some(width) });
        let shown = String::from_utf8(shown).expect("UTF-8");
        assert!(
            shown.starts_with("Fastest to generate: candle in f32 ("),
            "{shown}"
        );
        assert!(shown.ends_with("\nnext: mlxbench report results/quick/1.json -o quick.html\n"));
        let lines = shown.lines().filter(|line| !line.starts_with("next: "));
        for line in lines {
            assert!(
                line.chars().count() <= usize::from(width),
                "{line:?}\n{shown}"
            );
        }
        assert!(shown.contains("transformers bf16 (1 thread)"), "{shown}");
    }
}
