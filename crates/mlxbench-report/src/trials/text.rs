//! Matrices for a terminal.

use super::{Group, Table, machine, versions};

/// Columns of a block at most.
const WIDTH: usize = 80;
/// Characters of a framework's words; the file has all of them.
const QUOTED: usize = 400;
/// Between columns, and between devices.
const GAP: &str = " ";
const WIDE_GAP: &str = "  ";
/// Where there is no such trial.
const NONE: &str = "-";

/// Blocks of devices, then what isn't `ok`.
pub(super) fn render(table: &Table<'_>) -> String {
    let mut lines = Vec::new();
    for (at, matrix) in table.matrices.iter().enumerate() {
        let letter = table.letter(at);
        let letter = if letter.is_empty() {
            letter
        } else {
            format!("{letter}: ")
        };
        wrapped(&mut lines, &letter, &machine(&matrix.machine));
        wrapped(&mut lines, "   ", &versions(matrix));
        wrapped(&mut lines, "   ", &table.counts(at));
        for note in table.notes(at) {
            wrapped(&mut lines, "   ", &note);
        }
    }
    let blocks: Vec<Block<'_>> = table
        .groups
        .iter()
        .map(|group| Block::of(table, group))
        .collect();
    let names = table
        .rows
        .iter()
        .map(|row| row.chars().count())
        .max()
        .unwrap_or_default();
    for blocks in side_by_side(&blocks, WIDTH.saturating_sub(names)) {
        lines.push(String::new());
        // A line for devices, one for dtypes, one for each row.
        for at in 0..table.rows.len() + 2 {
            let name = at.checked_sub(2).map_or("", |row| table.rows[row]);
            let parts = blocks.iter().map(|block| block.lines[at].as_str());
            let line = parts.fold(format!("{name:names$}"), |line, part| {
                line + WIDE_GAP + part
            });
            lines.push(line.trim_end().to_owned());
        }
    }
    if table.differences() > 0 {
        lines.push(String::new());
        let differences = table.differences();
        lines.push(format!(
            "*: not the same on all machines ({differences} cells)"
        ));
    }
    for detail in table.details() {
        lines.push(String::new());
        let label = table.label(&table.groups[detail.group]);
        wrapped(
            &mut lines,
            "",
            &format!("{label} {}: {}", detail.status, detail.cells()),
        );
        let message: String = detail.message.chars().take(QUOTED).collect();
        let cut = if message.len() < detail.message.len() {
            "…"
        } else {
            ""
        };
        wrapped(&mut lines, "    ", &format!("{message}{cut}"));
    }
    lines.join("\n") + "\n"
}

/// The columns of a device: its name, its dtypes, and a line for each row, all of the same width.
struct Block<'a> {
    lines: Vec<String>,
    group: &'a Group<'a>,
}

impl<'a> Block<'a> {
    fn of(table: &Table<'_>, group: &'a Group<'a>) -> Self {
        let columns = group.columns.iter().map(|&element| {
            let cells = table
                .rows
                .iter()
                .map(|row| match group.cells.get(&(*row, element)) {
                    None => NONE.to_owned(),
                    Some(outcome) => {
                        let mark = if table.differs(group, row, element) {
                            "*"
                        } else {
                            ""
                        };
                        format!("{}{mark}", outcome.name())
                    }
                });
            let column: Vec<String> = [element.name().to_owned()]
                .into_iter()
                .chain(cells)
                .collect();
            let width = column.iter().map(String::len).max().unwrap_or_default();
            column
                .into_iter()
                .map(|cell| format!("{cell:width$}"))
                .collect::<Vec<_>>()
        });
        let columns: Vec<Vec<String>> = columns.collect();
        let rows = (0..=table.rows.len()).map(|at| {
            let cells: Vec<&str> = columns.iter().map(|column| column[at].as_str()).collect();
            cells.join(GAP)
        });
        let mut lines = vec![table.label(group)];
        lines.extend(rows);
        let width = lines.iter().map(String::len).max().unwrap_or_default();
        let padded = lines.into_iter().map(|line| format!("{line:width$}"));
        Self {
            lines: padded.collect(),
            group,
        }
    }

    fn width(&self) -> usize {
        self.lines[0].len() + WIDE_GAP.len()
    }
}

/// As many blocks beside one another as fit into `width`; those of one backend and device stay together where
/// they can.
fn side_by_side<'a>(blocks: &'a [Block<'a>], width: usize) -> Vec<&'a [Block<'a>]> {
    let of_target = blocks
        .chunk_by(|a, b| (a.group.backend, &a.group.device) == (b.group.backend, &b.group.device));
    let mut starts = vec![0];
    let (mut taken, mut at) = (0, 0);
    for target in of_target {
        let together: usize = target.iter().map(Block::width).sum();
        if taken > 0 && taken + together > width {
            starts.push(at);
            taken = 0;
        }
        for block in target {
            if taken > 0 && taken + block.width() > width {
                starts.push(at);
                taken = 0;
            }
            taken += block.width();
            at += 1;
        }
    }
    let ends = starts.iter().skip(1).copied().chain([blocks.len()]);
    let lines = starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| &blocks[start..end]);
    lines.filter(|line| !line.is_empty()).collect()
}

/// `text` in lines of [`WIDTH`], after `start` and below it.
fn wrapped(lines: &mut Vec<String>, start: &str, text: &str) {
    let indent = " ".repeat(start.chars().count());
    let mut line = start.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line.trim_end().to_owned());
}
