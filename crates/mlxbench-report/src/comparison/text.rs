//! A comparison for a terminal.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use mlxbench_analysis::Comparison;

use super::words::{
    FIGURES, HEADER, cautions, cells, headline, hopeless, method, stopped, subject,
};
use crate::terminal::plain;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    if let Some(hopeless) = hopeless(comparison) {
        push(&mut text, &hopeless);
    }
    push(&mut text, &plain(&subject(comparison)));
    if !comparison.rows.is_empty() {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(HEADER);
        for row in &comparison.rows {
            table.add_row(cells(row).map(|cell| plain(&cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for column in FIGURES {
            let column = table.column_mut(column).expect("a column of the header");
            column.set_cell_alignment(CellAlignment::Right);
        }
        for line in table.to_string().lines() {
            push(&mut text, line.trim_end());
        }
        push(&mut text, &method(comparison));
        if let Some(stopped) = stopped(comparison) {
            push(&mut text, &stopped);
        }
    }
    for caution in cautions(comparison) {
        push(&mut text, &format!("note: {}", plain(&caution)));
    }
    push(&mut text, &headline(comparison));
    text
}

fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes every write");
}
