//! A table that Markdown and pages show alike.

use std::ops::Range;

use mlxbench_core::results::Verdict;

/// A table with what is to be known of it.
pub(crate) struct Table {
    /// What stands above it.
    pub(crate) heading: String,
    /// How it is read, in a few sentences.
    pub(crate) about: String,
    /// The columns.
    pub(crate) header: &'static [&'static str],
    /// The columns that hold figures.
    pub(crate) figures: Range<usize>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Whether a row is of work that isn't the reference's.
    pub(crate) fn is_different(&self, cells: &[String]) -> bool {
        let mut columns = self.header.iter().zip(cells);
        columns.any(|(column, cell)| *column == "work" && cell == Verdict::Different.name())
    }
}

/// Those of `tables` that have rows.
pub(crate) fn with_rows(tables: impl IntoIterator<Item = Table>) -> Vec<Table> {
    let tables = tables.into_iter();
    tables.filter(|table| !table.rows.is_empty()).collect()
}
