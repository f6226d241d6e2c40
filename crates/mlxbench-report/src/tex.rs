//! Tables for LaTeX, in booktabs' manner: each median with its 95 % interval.

use std::fmt::Write as _;

use mlxbench_analysis::{Estimate, Interval};

use crate::cells::{self, TARGET, TEST, WORK};
use crate::figures::{Column, FIGURES, Figure};
use crate::{Digest, machine, quantisation, units};

/// The first line, by which such a file is known again.
pub(crate) const HEAD: &str = "% mlxbench's tables: \\usepackage{booktabs}";

/// The columns before and behind those of the figures.
const LEFT: [&str; 4] = ["backend", "device", "dtype", "test"];
const RIGHT: [&str; 1] = ["work"];

/// A table a result.
pub(crate) fn render(digests: &[Digest<'_>]) -> String {
    let tables: String = digests.iter().map(table).collect();
    format!("{HEAD}\n{tables}")
}

fn table(digest: &Digest<'_>) -> String {
    let Digest {
        result, summary, ..
    } = digest;
    let run = &result.run;
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a String takes every write");
    line("\\begin{table}\n  \\centering".into());
    let caption = format!(
        "{} on {}, {}: medians with 95 % CI of {}.",
        run.model.name,
        machine::processors(result),
        run.started.strftime("%F"),
        units::repetitions(result)
    );
    line(format!("  \\caption{{{}}}", escaped(&caption)));
    let is_column = |figure: &&Figure| match figure.column {
        Column::Always => true,
        Column::OfKind => summary.rows.iter().any(|row| figure.of(row).is_some()),
        Column::Never => false,
    };
    let columns: Vec<&Figure> = FIGURES.iter().filter(is_column).collect();
    line(format!(
        "  \\begin{{tabular}}{{{}{}{}}}",
        "l".repeat(LEFT.len()),
        "r".repeat(columns.len()),
        "l".repeat(RIGHT.len())
    ));
    let heads = columns
        .iter()
        .map(|one| format!("{} ({})", one.name, one.unit));
    let heads = LEFT
        .map(String::from)
        .into_iter()
        .chain(heads)
        .chain(RIGHT.map(String::from));
    line(format!(
        "    \\toprule\n    {} \\\\\n    \\midrule",
        heads.collect::<Vec<_>>().join(" & ")
    ));
    let mut notes = Vec::new();
    for row in &summary.rows {
        let cells = cells::cells(result, row);
        let figures = columns
            .iter()
            .map(|one| one.of(row).as_ref().map(estimate).unwrap_or_default());
        let words = cells[TARGET]
            .iter()
            .chain([&cells[TEST]])
            .map(|word| escaped(word));
        let fields = words.chain(figures).chain([escaped(&cells[WORK])]);
        line(format!(
            "    {} \\\\",
            fields.collect::<Vec<_>>().join(" & ")
        ));
        notes.extend(quantisation::fidelity(row));
    }
    line("    \\bottomrule\n  \\end{tabular}".into());
    notes.dedup();
    for note in notes {
        line(format!("\n  \\footnotesize {}", escaped(&note)));
    }
    line("\\end{table}".into());
    text
}

/// A median and, behind it, its interval.
fn estimate(estimate: &Estimate) -> String {
    let median = units::figure(estimate.median);
    match estimate.interval {
        Some(Interval { low, high }) => {
            let (low, high) = (units::figure(low), units::figure(high));
            format!("{median} {{\\footnotesize [{low}, {high}]}}")
        }
        None => median,
    }
}

/// Text in which nothing is a command.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|&c| !units::is_unprintable(c)) {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '±' => escaped.push_str("$\\pm$"),
            'µ' => escaped.push_str("\\textmu{}"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_command() {
        assert_eq!(
            escaped("5 % of a_b & {c}\\d"),
            "5 \\% of a\\_b \\& \\{c\\}\\textbackslash{}d"
        );
        assert_eq!(escaped("1 ± 2\n"), "1 $\\pm$ 2");
    }
}
