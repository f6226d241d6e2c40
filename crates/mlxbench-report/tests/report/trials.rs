//! Which operations work where, as people see it.

use mlxbench_core::results::RunResult;
use mlxbench_core::trial::{ElementType, Outcome};
use mlxbench_report::{Beside, Format, Written, render, trials_page, trials_text};

use crate::matrices::{matrix, two};
use crate::support::run;

#[test]
fn one_machine_in_text() {
    insta::assert_snapshot!(trials_text(&two()[..1]));
}

#[test]
fn two_machines_in_text() {
    insta::assert_snapshot!(trials_text(&two()));
}

#[test]
fn no_line_is_wider_than_80_columns() {
    let many: Vec<_> = two().into_iter().cycle().take(5).collect();
    for count in 1..=many.len() {
        let text = trials_text(&many[..count]);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
        assert!(text.contains("A server") == (count > 1), "{text}");
    }
}

/// Of the cells of the CPU, which both have: min and max in i64, the attention in f16, top-k in f16. That in bf16 is
/// wrong on both.
#[test]
fn what_differs_is_marked_on_both_machines_and_nothing_else() {
    let text = trials_text(&two());
    assert_eq!(
        text.matches("* ").count() + text.matches("*\n").count(),
        2 * 4,
        "{text}"
    );
    let page = String::from_utf8(trials_page(&two())).unwrap();
    assert_eq!(page.matches(" differs").count(), 2 * 4);
    let alone = String::from_utf8(trials_page(&two()[..1])).unwrap();
    assert_eq!(alone.matches(" differs").count(), 0);
}

#[test]
fn words_of_others_stay_words() {
    let message = "<script>alert(1)</script>\u{202e}\u{1b}[2J".to_owned();
    let hostile = matrix(
        "<b>cpu</b>",
        None,
        &[("sort", ElementType::F32, Outcome::Missing { message })],
    );
    let page = String::from_utf8(trials_page(&[hostile])).unwrap();
    assert!(
        !page.contains("<script") && !page.contains("<b>cpu"),
        "{page}"
    );
    assert!(!page.contains(['\u{202e}', '\u{1b}']), "{page}");
}

#[test]
fn an_operation_of_another_version_gets_a_row() {
    let mut newer = matrix("A server", None, &[]);
    newer.backends[1].devices[0].cells[0].op = "fft".into();
    let text = trials_text(&[newer]);
    let fft = text.lines().find(|line| line.starts_with("fft "));
    assert_eq!(
        fft.map(|line| line.split_whitespace().count()),
        Some(5),
        "{text}"
    );
}

#[test]
fn what_was_given_up_is_told() {
    let mut found = matrix("A server", Some("cuda"), &[]);
    found.interrupted = true;
    found.backends[0].untried = None;
    found.backends[0].fault = Some("the worker died (signal 6)".into());
    found.backends[1].devices[0].stopped = Some("it is gone".into());
    let page = String::from_utf8(trials_page(&[found.clone()])).unwrap();
    for says in [
        "interrupted before all was tried",
        "mlx was given up: the worker died (signal 6)",
        "tch/cuda was given up: it is gone",
    ] {
        let text = trials_text(&[found.clone()]);
        assert!(text.contains(says), "{says}: {text}");
        assert!(page.contains(says), "{says}: {page}");
    }
}

/// A name that leaves no room for columns.
#[test]
fn a_name_as_wide_as_the_terminal_is_shown() {
    let mut newer = matrix("A server", None, &[]);
    let name = "x".repeat(81);
    newer.backends[1].devices[0].cells[0].op.clone_from(&name);
    let text = trials_text(&[newer]);
    assert!(text.lines().any(|line| line.starts_with(&name)), "{text}");
}

/// A report of `results` with the matrices of two machines.
fn beside(results: &[RunResult], format: Format) -> String {
    let beside = Beside {
        matrices: two().into(),
        ..Beside::default()
    };
    let report = render(results, &beside, format);
    assert!(Written::Report(format).wrote(&report));
    String::from_utf8(report).expect("UTF-8")
}

#[test]
fn two_machines_in_markdown() {
    let text = beside(&[], Format::Markdown);
    assert!(
        text.contains("- **A**: ") && text.contains("- **B**: "),
        "{text}"
    );
    // Of the CPU, which both have.
    let mut tables = text
        .split("\n\n")
        .filter(|part| part.starts_with("| operation |"));
    let cpu = tables.find(|table| table.contains("B tch/cpu")).unwrap();
    assert!(cpu.contains("A tch/cpu i64 |"), "{cpu}");
    let cells = |line: &str| line.matches(" |").count();
    assert!(
        cpu.lines()
            .all(|line| cells(line) == cells(cpu.lines().next().unwrap())),
        "{cpu}"
    );
    assert_eq!(cpu.matches(" ≠ |").count(), 2 * 4, "{cpu}");
    assert!(
        text.contains("not the same on all machines (8 cells)"),
        "{text}"
    );
}

#[test]
fn matrices_alone_are_what_ops_shows() {
    let terminal = Format::Terminal { width: None };
    assert_eq!(beside(&[], terminal), trials_text(&two()));
    assert_eq!(beside(&[], Format::Html).into_bytes(), trials_page(&two()));
}

#[test]
fn matrices_are_a_section_beside_results() {
    for format in [
        Format::Html,
        Format::Markdown,
        Format::Terminal { width: None },
    ] {
        let (report, alone) = (beside(&[run()], format), beside(&[], format));
        assert!(report.contains(&run().run.name), "{report}");
        let ends = if format == Format::Html {
            "</tr>"
        } else {
            "\n"
        };
        // An operation's row is the same in both.
        let row = alone
            .split(ends)
            .find(|row| row.contains("cumsum"))
            .unwrap();
        let row = &row[row.rfind("cumsum").unwrap()..];
        assert!(report.contains(row), "{row} isn't in {report}");
    }
    let page = beside(&[run()], Format::Html);
    assert_eq!(page.matches(" ≠</td>").count(), 2 * 4);
    assert!(page.contains("href=\"#operations\""), "{page}");
}
