//! A table for people, in llama-bench's manner, and who is fastest.

use std::fmt::Write as _;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use mlxbench_core::results::RunResult;

use crate::Digest;
use crate::answer::answer;
use crate::cells::{
    self, Cells, DECODE, FIGURES, HEADER, MBU, MEMORY, MODEL, NOTE, PREFILL, TARGET, TEST, WORK,
    cells,
};
use crate::external::External;
use crate::limits::limits;
use crate::machine::processors;
use crate::units;
use crate::warnings::warnings;

/// Columns of the terminal that a model's name and a note are given before they wrap.
const TEXT_WIDTH: u16 = 48;

/// The columns of a table for a terminal that the whole one doesn't fit.
const NARROW_HEADER: [&str; 7] = [
    "target",
    "test",
    "prefill t/s",
    "decode t/s",
    "MBU",
    "memory",
    "work",
];

/// One heading, table and list of warnings a result.
pub(crate) fn render(digests: &[Digest<'_>], others: &[External], width: Option<u16>) -> String {
    let own = digests.iter().map(|digest| block(digest, width));
    let blocks: Vec<String> = own.chain(others.iter().map(external)).collect();
    if blocks.is_empty() {
        return "no results\n".into();
    }
    blocks.join("\n")
}

fn block(digest: &Digest<'_>, width: Option<u16>) -> String {
    let Digest { result, summary } = digest;
    let mut text = plain(&heading(result));
    text.push('\n');
    let rows: Vec<_> = summary.rows.iter().map(|row| cells(result, row)).collect();
    let whole = wide(&rows);
    match width {
        Some(width) if !fits(&whole, width) => {
            push_lines(&mut text, &narrow(&rows, width).to_string());
            for row in rows.iter().filter(|row| !row[NOTE].is_empty()) {
                let line = format!("{} {}: {}", row[TARGET].join("/"), row[TEST], row[NOTE]);
                push_lines(&mut text, &plain(&line));
            }
        }
        _ => push_lines(&mut text, &whole.to_string()),
    }
    let answer = answer(digest);
    push_lines(&mut text, &plain(&format!("{}.", answer.headline)));
    for (name, said) in &answer.standings {
        push_lines(&mut text, &plain(&format!("{name}: {said}")));
    }
    for line in limits(summary) {
        push_lines(&mut text, &plain(&line));
    }
    for warning in warnings(digest) {
        push_lines(&mut text, &plain(&format!("warning: {warning}")));
    }
    text
}

/// The rows of another program.
fn external(external: &External) -> String {
    let machine = external
        .machine
        .as_deref()
        .unwrap_or("a machine it doesn't name");
    let heading = format!(
        "{}, measured by {} on {machine}",
        external.file, external.tool
    );
    let mut text = plain(&heading);
    text.push('\n');
    let rows: Vec<Cells> = external
        .rows
        .iter()
        .map(|row| cells::external(external, row))
        .collect();
    push_lines(&mut text, &wide(&rows).to_string());
    for skipped in &external.skipped {
        push_lines(&mut text, &plain(&format!("left out: {skipped}")));
    }
    text
}

fn heading(result: &RunResult) -> String {
    let run = &result.run;
    let settings = &run.settings;
    format!(
        "{}: {} ({} parameters) on {}, {} of memory; {}, {} threads",
        run.name,
        run.model.name,
        units::count(run.model.parameters),
        processors(result),
        units::bytes(run.machine.memory_bytes),
        units::repetitions(settings),
        settings.threads,
    )
}

/// Every column.
fn wide(rows: &[Cells]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(HEADER);
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in FIGURES {
        align_right(&mut table, column);
    }
    for column in [MODEL, NOTE] {
        let column = table.column_mut(column).expect("a column of the header");
        let most = Width::Fixed(TEXT_WIDTH);
        column.set_constraint(ColumnConstraint::UpperBoundary(most));
    }
    table
}

/// What fits into 80 columns for most runs: model and threads stand in the heading, notes below.
fn narrow(rows: &[Cells], width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(NARROW_HEADER);
    for row in rows {
        let target = row[TARGET].join("/");
        let cells = [PREFILL, DECODE, MBU, MEMORY, WORK].map(|column| &row[column]);
        let cells = [&target, &row[TEST]].into_iter().chain(cells);
        table.add_row(cells.map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for column in 2..6 {
        align_right(&mut table, column);
    }
    table
}

fn align_right(table: &mut Table, column: usize) {
    let column = table.column_mut(column).expect("a column of the header");
    column.set_cell_alignment(CellAlignment::Right);
}

fn fits(table: &Table, width: u16) -> bool {
    let longest = table.lines().map(|line| line.chars().count()).max();
    longest.unwrap_or(0) <= usize::from(width)
}

/// One line of text from text that others wrote: white space collapsed, and escapes in place of
/// control and direction characters, which could rewrite the terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars() {
            match character {
                unprintable if units::is_unprintable(unprintable) => {
                    line.extend(unprintable.escape_unicode());
                }
                other => line.push(other),
            }
        }
    }
    line
}

fn push_lines(text: &mut String, lines: &str) {
    for line in lines.lines() {
        writeln!(text, "{}", line.trim_end()).expect("a String takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_one_line_and_commands_no_terminal() {
        assert_eq!(plain("a\n b\t c"), "a b c");
        assert_eq!(plain("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(plain("\u{202e}abc"), "\\u{202e}abc");
    }

    #[test]
    fn no_results_are_said_to_be_none() {
        assert_eq!(render(&[], &[], None), "no results\n");
    }
}
