//! A comparison for a pull request: what changed or can't be told stands open, the rest is folded.

use mlxbench_analysis::{Change, ComparedRow, Comparison};

use super::words::{
    FIGURES, HEADER, cautions, cells, headline, hopeless, method, stopped, subject,
};
use crate::markdown::escape;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut lines = vec![
        format!("### mlxbench: {}", escape(&headline(comparison))),
        String::new(),
        format!("{}.", escape(&subject(comparison))),
        String::new(),
    ];
    if let Some(hopeless) = hopeless(comparison) {
        lines.extend([escape(&hopeless), String::new()]);
    }
    let (same, told): (Vec<&ComparedRow>, Vec<&ComparedRow>) = comparison
        .rows
        .iter()
        .partition(|row| row.change == Change::Same);
    if !told.is_empty() {
        lines.extend(table(&told));
        lines.push(String::new());
    }
    if !same.is_empty() {
        let summary = match same.len() {
            1 => "1 row is the same".to_owned(),
            rows => format!("{rows} rows are the same"),
        };
        lines.push(format!("<details><summary>{summary}</summary>\n"));
        lines.extend(table(&same));
        lines.push("\n</details>\n".into());
    }
    let cautions = cautions(comparison);
    if !cautions.is_empty() {
        let cautions = cautions
            .iter()
            .map(|caution| format!("- {}", escape(caution)));
        lines.extend(cautions);
        lines.push(String::new());
    }
    if !comparison.rows.is_empty() {
        lines.extend([method(comparison), String::new()]);
        lines.extend(
            stopped(comparison)
                .into_iter()
                .flat_map(|stopped| [stopped, String::new()]),
        );
    }
    lines.join("\n")
}

fn table(rows: &[&ComparedRow]) -> Vec<String> {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = |column| {
        if FIGURES.contains(&column) {
            "---:"
        } else {
            "---"
        }
    };
    let rule: Vec<String> = (0..HEADER.len()).map(|at| rule(at).to_owned()).collect();
    let mut lines = vec![line(&HEADER.map(str::to_owned)), line(&rule)];
    for row in rows {
        let mut cells = cells(row).map(|cell| escape(&cell));
        if matches!(row.change, Change::Worse | Change::Broken { .. }) {
            let verdict = cells.last_mut().expect("a row has cells");
            *verdict = format!("**{verdict}**");
        }
        lines.push(line(&cells));
    }
    lines
}
