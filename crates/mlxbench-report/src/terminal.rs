//! The answer for a terminal: in 80 columns, without a word that is broken.

use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, ColumnConstraint, Table, Width};

use mlxbench_core::results::Test;

use crate::answer::answer;
use crate::cells::{self, Cells, FIGURES, HEADER, MODEL, NOTE};
use crate::chat;
use crate::external::External;
use crate::first::{Compact, Line, banner, by_kind, compact, model, spelled, sureness};
use crate::limits::limits;
use crate::machine::whole;
use crate::trials::trials_text;
use crate::warnings::warnings;
use crate::{Beside, Digest, serving, units};

/// Columns of the terminal that a model's name and a note are given before they wrap.
const TEXT_WIDTH: u16 = 48;

/// Blanks between two columns of the table.
const GAP: usize = 2;

/// Columns of the compact table that go first where it is too wide: what others tell as well.
const DISPENSABLE: [&str; 5] = ["TTFT", "first TTFT", "cold TTFT", "fidelity", "memory"];

/// An answer, a table and what to know of it for each result, then what stands beside them. Lines are broken
/// where there is a `width`.
pub(crate) fn render(digests: &[Digest<'_>], beside: &Beside, width: Option<u16>) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    let own = digests.iter().map(|digest| block(digest, width));
    let others = beside.others.iter().map(external);
    let matrices = &beside.matrices;
    let matrices = (!matrices.is_empty()).then(|| trials_text(matrices));
    let blocks: Vec<String> = own.chain(others).chain(matrices).collect();
    if blocks.is_empty() {
        return "no results\n".into();
    }
    let mut text = blocks.join("\n");
    if let Some(next) = &beside.next {
        // A command isn't broken: it is there to be copied.
        writeln!(text, "\nnext: {}", plain(next)).expect("a String takes every write");
    }
    text
}

fn block(digest: &Digest<'_>, width: usize) -> String {
    let run = &digest.result.run;
    let answer = answer(digest);
    let mut text = String::new();
    let mut say = |indent: &str, said: &str| push_wrapped(&mut text, said, indent, width);
    say("", &format!("{}.", answer.headline));
    for sentence in banner(digest.result) {
        say("", &format!("! {sentence}."));
    }
    let (parameters, times) = (
        units::parameters(run.model.parameters),
        units::repetitions(digest.result),
    );
    let (name, model, machine) = (&run.name, model(digest.result), whole(digest.result));
    let threads = run.settings.threads;
    let test = match run.tests.as_slice() {
        [only] => format!("; {only}: {}", spelled(only)),
        _ => String::new(),
    };
    say(
        "",
        &format!("{name}: {model} ({parameters}) on {machine}{test}; {times}, {threads} threads."),
    );
    text.push('\n');
    let mut kinds = by_kind(&run.tests);
    if kinds.is_empty() {
        kinds.push(Vec::new());
    }
    for tests in kinds {
        for line in table(digest, &tests, width) {
            writeln!(text, "{}", line.trim_end()).expect("a String takes every write");
        }
    }
    let mut say = |said: &str| push_wrapped(&mut text, said, "  ", width);
    say("> best of its precision, or within noise of it; * not steady, not ranked");
    say("");
    say(&format!("How sure? {}.", sureness(digest).join(". ")));
    for row in &digest.summary.rows {
        let note = cells::note(digest.result, row);
        if row.repetitions > 0 && !note.is_empty() {
            say(&format!(
                "{} {}: {note}",
                digest.name(&row.target),
                row.test
            ));
        }
    }
    for said in serving::sentences(digest) {
        say(&said);
    }
    for line in chat::sentences(digest) {
        say(&line);
    }
    for (name, said) in answer.facts.iter().filter(|(name, _)| *name != "Memory") {
        say(&format!("{name}: {said}"));
    }
    for line in limits(digest) {
        say(&line);
    }
    for warning in warnings(digest) {
        say(&format!("warning: {warning}"));
    }
    text
}

/// The lines of the compact table; names are broken between words, and columns that others stand for are left out,
/// until it is no wider than `width`.
fn table(digest: &Digest<'_>, tests: &[Test], width: usize) -> Vec<String> {
    let Compact {
        mut columns,
        mut lines,
        ..
    } = compact(digest, tests);
    // One of another kind stands in another table.
    let several = digest.result.run.tests.len() > 1;
    if several {
        columns.insert(0, "test");
        for line in &mut lines {
            let cell = crate::first::Cell {
                words: line.test.to_string(),
                best: false,
            };
            line.cells.insert(0, cell);
        }
    }
    let longest_word = |line: &Line| {
        let words = plain(&line.name);
        words.split(' ').map(columns_of).max().unwrap_or(0)
    };
    let least = lines
        .iter()
        .map(longest_word)
        .max()
        .unwrap_or(0)
        .max("target".len());
    loop {
        let widths: Vec<usize> = (0..columns.len())
            .map(|column| {
                let cells = lines.iter().filter(|line| line.fault.is_empty());
                let cells = cells.map(|line| columns_of(&shown(line, column)));
                cells.max().unwrap_or(0).max(columns_of(columns[column]))
            })
            .collect();
        let taken: usize = widths.iter().map(|width| width + GAP).sum();
        let dispensable = columns
            .iter()
            .position(|column| DISPENSABLE.contains(column));
        if taken + least > width
            && let Some(column) = dispensable
        {
            columns.remove(column);
            for line in &mut lines {
                line.cells.remove(column);
            }
            continue;
        }
        let names = lines.iter().map(|line| columns_of(&plain(&line.name)));
        let names = names.max().unwrap_or(0).max("target".len());
        let room = names.min(width.saturating_sub(taken)).max(least);
        let head: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        let mut drawn = laid_out("target", &head, room, &widths, &columns);
        for line in &lines {
            let name = plain(&line.name);
            match line.fault.is_empty() {
                true => {
                    let cells: Vec<String> = (0..columns.len()).map(|at| shown(line, at)).collect();
                    drawn.extend(laid_out(&name, &cells, room, &widths, &columns));
                }
                false => {
                    let test = if several {
                        format!(" {}", line.test)
                    } else {
                        String::new()
                    };
                    let mut said = String::new();
                    push_wrapped(
                        &mut said,
                        &format!("{name}{test}: {}", line.fault),
                        "  ",
                        width,
                    );
                    drawn.extend(said.lines().map(str::to_owned));
                }
            }
        }
        return drawn;
    }
}

/// A cell in words, the best with a mark.
fn shown(line: &Line, column: usize) -> String {
    let cell = line.cells.get(column).cloned().unwrap_or_default();
    let mark = if cell.best { "> " } else { "" };
    format!("{mark}{}", plain(&cell.words))
}

/// A row, on as many lines as its name takes.
fn laid_out(
    name: &str,
    cells: &[String],
    room: usize,
    widths: &[usize],
    columns: &[&str],
) -> Vec<String> {
    let mut wrapped = String::new();
    push_wrapped(&mut wrapped, name, " ", room);
    let mut lines: Vec<String> = wrapped.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    pad(&mut lines[0], room);
    for ((cell, width), column) in cells.iter().zip(widths).zip(columns) {
        let blanks = " ".repeat(width.saturating_sub(columns_of(cell)));
        let gap = " ".repeat(GAP);
        lines[0] += &match *column {
            "test" | "same work" | "fidelity" => format!("{gap}{cell}{blanks}"),
            _ => format!("{gap}{blanks}{cell}"),
        };
    }
    lines
}

fn pad(line: &mut String, room: usize) {
    line.push_str(&" ".repeat(room.saturating_sub(columns_of(line))));
}

/// Columns of a terminal that `text` takes, as near as it can be told.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}

/// Adds `said` in lines of at most `width` columns, broken between words; all but the first are indented.
fn push_wrapped(text: &mut String, said: &str, indent: &str, width: usize) {
    let mut line = String::new();
    let said = plain(said);
    for word in said.split(' ') {
        let blank = usize::from(!line.is_empty());
        if !line.trim().is_empty() && columns_of(&line) + blank + columns_of(word) > width {
            writeln!(text, "{line}").expect("a String takes every write");
            line = format!("{indent}{word}");
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    writeln!(text, "{line}").expect("a String takes every write");
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

/// Every column.
fn wide(rows: &[Cells]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(HEADER);
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in FIGURES {
        let column = table.column_mut(column).expect("a column of the header");
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in [MODEL, NOTE] {
        let column = table.column_mut(column).expect("a column of the header");
        let most = Width::Fixed(TEXT_WIDTH);
        column.set_constraint(ColumnConstraint::UpperBoundary(most));
    }
    table
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
    fn lines_are_broken_between_words_alone() {
        let mut text = String::new();
        push_wrapped(&mut text, "one two three unbreakable-and-long", "  ", 9);
        assert_eq!(text, "one two\n  three\n  unbreakable-and-long\n");
    }

    #[test]
    fn no_results_are_said_to_be_none() {
        assert_eq!(render(&[], &Beside::default(), None), "no results\n");
    }
}
