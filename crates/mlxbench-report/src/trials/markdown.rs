//! Matrices for GitHub: a table for each device, those of several machines side by side in it.

use super::{Group, Table, machine, versions};
use crate::markdown::escape;

/// The first line.
pub(crate) const HEADING: &str = "## Which operations work";

/// How a table begins.
pub(crate) const OPERATION: &str = "| operation |";

pub(super) fn render(table: &Table<'_>) -> String {
    let mut lines = vec![HEADING.to_owned(), String::new()];
    for (at, of) in table.matrices.iter().enumerate() {
        let letter = match table.letter(at) {
            none if none.is_empty() => none,
            letter => format!("**{letter}**: "),
        };
        let notes: Vec<String> = table.notes(at).map(|note| format!(" {note}.")).collect();
        let said = format!(
            "{}. {}: {}.{}",
            machine(&of.machine),
            versions(of),
            table.counts(at),
            notes.concat()
        );
        lines.push(format!("- {letter}{}", escape(&said)));
    }
    if table.groups.is_empty() {
        lines.extend([String::new(), "No operation was tried.".into()]);
    }
    let same = |a: &Group<'_>, b: &Group<'_>| (a.backend, &a.device) == (b.backend, &b.device);
    for groups in table.groups.chunk_by(same) {
        lines.push(String::new());
        lines.extend(of_device(table, groups));
    }
    if table.differences() > 0 {
        let differences = table.differences();
        let legend = format!("≠: not the same on all machines ({differences} cells).");
        lines.extend([String::new(), legend]);
    }
    let details = table.details();
    if !details.is_empty() {
        lines.push(String::new());
    }
    lines.extend(details.iter().map(|detail| {
        let label = table.label(&table.groups[detail.group]);
        let (cells, message) = (detail.cells(), escape(detail.message));
        format!(
            "- **{}** on {}: {}: {message}",
            detail.status,
            escape(&label),
            escape(&cells)
        )
    }));
    lines.push(String::new());
    lines.join("\n")
}

/// The table of one device of a backend, with the columns of every machine that has it.
fn of_device(table: &Table<'_>, groups: &[Group<'_>]) -> Vec<String> {
    let columns = || {
        let columns = groups.iter().flat_map(|group| {
            let elements = group.columns.iter();
            elements.map(move |element| (group, *element))
        });
        columns.map(|(group, element)| (table.label(group), group, element))
    };
    let names = columns().map(|(label, _, element)| format!(" {} {element} |", escape(&label)));
    let rule = columns().map(|_| " --- |");
    let head = [
        format!("{OPERATION}{}", names.collect::<String>()),
        format!("| --- |{}", rule.collect::<String>()),
    ];
    let tried = |row: &&&str| {
        let mut columns = columns();
        columns.any(|(_, group, element)| group.cells.contains_key(&(**row, element)))
    };
    let rows = table.rows.iter().filter(tried).map(|row| {
        let cells = columns().map(|(_, group, element)| {
            let differs = table.differs(group, row, element);
            match group.cells.get(&(*row, element)) {
                Some(outcome) if differs => format!(" {} ≠ |", outcome.name()),
                Some(outcome) => format!(" {} |", outcome.name()),
                None => " - |".to_owned(),
            }
        });
        format!("| {} |{}", escape(row), cells.collect::<String>())
    });
    head.into_iter().chain(rows).collect()
}
