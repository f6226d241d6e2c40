//! Every row of every result: to sort by any column, to filter by framework, device and precision.

use maud::{Markup, html};
use mlxbench_analysis::{Estimate, Row, RowStatus};
use mlxbench_core::results::Verdict;

use super::answer::better;
use super::terms::{meaning, of_column, term};
use crate::cells::{self, HEADER, WORK};
use crate::external::{External, ExternalRow};
use crate::{Digest, units};

/// Columns that the other tables have no room for, before the verdict on the work.
const MORE: [&str; 6] = [
    "between processes",
    "latency p50",
    "latency p99",
    "memory floor",
    "load",
    "energy/token",
];

/// A cell: its words, and what it is sorted by.
struct Cell {
    words: String,
    key: Option<f64>,
}

/// A row of the table.
struct Line {
    /// What its figures are worth: its class.
    state: &'static str,
    /// Which target's it is; empty for another program's.
    key: String,
    /// What it is filtered by: framework, device, precision.
    placement: [String; 3],
    cells: Vec<Cell>,
}

/// The table with its filters, the best first. Columns in which all rows are alike stand above it, those without a
/// word are left out.
pub(super) fn section(digests: &[Digest<'_>], labels: &[String], others: &[External]) -> Markup {
    let several = digests.len() > 1;
    let own = digests.iter().zip(labels).flat_map(|(digest, label)| {
        let mut tests = digest.result.run.tests.clone();
        let main = digest.main_test();
        tests.sort_by_key(|test| Some(*test) != main);
        let mut rows: Vec<&Row> = digest.summary.rows.iter().collect();
        let rate = |row: &Row| {
            let rate = row
                .decode_tokens_per_second
                .or(row.prefill_tokens_per_second);
            rate.map_or(f64::NEG_INFINITY, |rate| rate.median)
        };
        rows.sort_by(|a, b| {
            let test = |row: &Row| tests.iter().position(|test| *test == row.test);
            test(a).cmp(&test(b)).then(rate(b).total_cmp(&rate(a)))
        });
        rows.into_iter()
            .map(move |row| own(digest, row, several.then_some(label)))
    });
    let files = others;
    let others = others.iter().flat_map(|external| {
        let rows = external.rows.iter();
        rows.map(move |row| other(external, row, several))
    });
    let lines: Vec<Line> = own.chain(others).collect();
    let names = columns(several);
    let Columns { shown, alike } = Columns::of(&names, &lines);
    let filters = ["framework", "device", "precision"];
    html! {
        section #rows {
            h2 #rows-heading { "All figures" }
            @if lines.is_empty() {
                p { "There are no rows: nothing was to be measured." }
            } @else {
                div.filters hidden role="group" aria-label="Filters of tables and charts" {
                    @for (at, what) in filters.iter().enumerate() {
                        (filter(what, lines.iter().map(|line| line.placement[at].clone())))
                    }
                    output #shown role="status" { (lines.len()) " rows" }
                    button #clear type="button" hidden { "Show all" }
                }
                @if !alike.is_empty() {
                    p.hint { "The same in all rows: " (alike.join(", ")) "." }
                }
                div.scroll role="region" aria-labelledby="rows-heading" tabindex="0" {
                    table.rows.cards {
                        thead { tr {
                            @for &column in &shown {
                                @let name = names[column].as_str();
                                th scope="col" aria-sort="none" title=(meaning(of_column(name))) data-name=(name) {
                                    (name) (better(name))
                                }
                            }
                        } }
                        tbody {
                            @for Line { state, key, placement: [framework, device, precision], cells } in &lines {
                                tr class=(state) data-target=(key) data-framework=(framework) data-device=(device) data-precision=(precision) {
                                    @for &column in &shown {
                                        @let cell = &cells[column];
                                        @let name = names[column].as_str();
                                        @if column == 0 { th scope="row" { (cell.words) } }
                                        @else if let Some(key) = cell.key {
                                            td.figure data-key=(key) data-label=(name) { (cell.words) }
                                        } @else { td data-label=(name) { (cell.words) } }
                                    }
                                }
                            }
                        }
                    }
                }
                p.hint { "↑ higher is better, ↓ lower is better. " (term("ci", "±")) " is the longer half of the 95 % interval of the median; a lopsided interval is shown from end to end." }
                @for external in files {
                    p.hint {
                        "External rows come from " (external.file) ", which " (external.tool)
                        " wrote: mlxbench has neither checked their work nor the machine"
                        @if let Some(machine) = &external.machine { ", " (machine) "," }
                        " that they were measured on."
                        @for skipped in &external.skipped { " Left out: " (skipped) "." }
                    }
                }
            }
        }
    }
}

/// Which columns are worth showing.
struct Columns {
    shown: Vec<usize>,
    /// `model gemma-3-270m`: what all rows have alike.
    alike: Vec<String>,
}

impl Columns {
    fn of(names: &[String], lines: &[Line]) -> Self {
        let (mut shown, mut alike) = (Vec::new(), Vec::new());
        for (column, name) in names.iter().enumerate() {
            let mut words = lines.iter().map(|line| line.cells[column].words.as_str());
            let first = words.next().unwrap_or_default();
            let constant = words.all(|other| other == first);
            let figure = lines.iter().any(|line| line.cells[column].key.is_some());
            match (constant && column > 0, first.is_empty()) {
                (true, true) => {}
                // A single row is no column.
                (true, false) if !figure || lines.len() > 1 => {
                    alike.push(format!("{name} {first}"))
                }
                _ => shown.push(column),
            }
        }
        Self { shown, alike }
    }
}

fn columns(several: bool) -> Vec<String> {
    let (before, after) = HEADER.split_at(WORK);
    let run = several.then_some("result");
    let names = ["target"].into_iter().chain(run);
    let names = names.chain(before.iter().copied()).chain(MORE);
    names
        .chain(after.iter().copied())
        .map(str::to_owned)
        .collect()
}

/// A filter, where there is a choice.
fn filter(what: &str, values: impl Iterator<Item = String>) -> Markup {
    let mut values: Vec<String> = values.collect();
    values.sort_unstable();
    values.dedup();
    html! {
        @if values.len() > 1 {
            label { (what) " "
                select data-filter=(what) {
                    option value="" { "all" }
                    @for value in &values { option value=(value) { (value) } }
                }
            }
        }
    }
}

/// What a row's figures are worth: its class.
fn state(digest: &Digest<'_>, row: &Row) -> &'static str {
    let verdict = digest.result.verdict_of(&row.target, &row.test);
    match (&row.status, verdict) {
        (RowStatus::Failed { .. } | RowStatus::Missing, _) => "failed",
        (RowStatus::NotFinite, _) | (_, Some(Verdict::Different)) => "different",
        _ => "ok",
    }
}

/// A row that another program measured.
fn other(external: &External, row: &ExternalRow, several: bool) -> Line {
    let median = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.median);
    let key = |column| match column {
        cells::PREFILL => median(row.prefill_tokens_per_second),
        cells::DECODE => median(row.decode_tokens_per_second),
        cells::MEMORY => row.peak_memory_bytes.map(|bytes| bytes as f64),
        _ => None,
    };
    let words = cells::external(external, row).into_iter().enumerate();
    let mut own = words.map(|(column, words)| Cell {
        words,
        key: key(column),
    });
    let run = several.then(|| external.file.clone());
    let name = format!("{} {}", row.backend, row.dtype);
    let mut cells = first_cells(name, run);
    cells.extend(own.by_ref().take(WORK));
    cells.extend(MORE.map(|_| Cell {
        words: String::new(),
        key: None,
    }));
    cells.extend(own);
    Line {
        state: "external",
        key: String::new(),
        placement: [row.backend.clone(), row.device.clone(), row.dtype.clone()],
        cells,
    }
}

/// A row of ours.
fn own(digest: &Digest<'_>, row: &Row, label: Option<&String>) -> Line {
    let placement = &row.target.placement;
    Line {
        state: state(digest, row),
        key: row.target.to_string(),
        placement: [
            digest.name(&row.target).framework().to_owned(),
            placement.device.to_string(),
            placement.precision.to_string(),
        ],
        cells: own_cells(digest, row, label),
    }
}

/// The target's name, and what its result is called where there are several.
fn first_cells(name: String, result: Option<String>) -> Vec<Cell> {
    let words = [Some(name), result].into_iter().flatten();
    words.map(|words| Cell { words, key: None }).collect()
}

fn own_cells(digest: &Digest<'_>, row: &Row, label: Option<&String>) -> Vec<Cell> {
    let cells = cells::cells(digest.result, row);
    let median = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.median);
    let facts = digest
        .result
        .targets
        .iter()
        .find(|facts| facts.id == row.target);
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    let keys = [
        None,
        None,
        None,
        None,
        facts.map(|facts| facts.threads as f64),
        None,
        median(row.prefill_tokens_per_second),
        median(row.mfu),
        median(row.decode_tokens_per_second),
        median(row.mbu),
        median(row.ttft_ns),
        bytes(row.peak_bytes()),
        None,
        None,
    ];
    let latency = |of: fn(&mlxbench_analysis::InterToken) -> Option<f64>| {
        row.inter_token_ns.as_ref().and_then(of)
    };
    let time = |ns: Option<f64>| (ns.map(units::time).unwrap_or_default(), ns);
    let between = row.process_spread.map(|spread| spread.between);
    let more = [
        (between.map(units::share).unwrap_or_default(), between),
        time(latency(|latency| latency.p50)),
        time(latency(|latency| latency.p99)),
        (
            row.memory_floor_bytes.map(units::bytes).unwrap_or_default(),
            bytes(row.memory_floor_bytes),
        ),
        time(median(row.load_ns)),
        (
            row.joules_per_token
                .as_ref()
                .map(units::joules)
                .unwrap_or_default(),
            median(row.joules_per_token),
        ),
    ];
    let own = cells.into_iter().zip(keys);
    let own: Vec<Cell> = own.map(|(words, key)| Cell { words, key }).collect();
    let more = more.map(|(words, key)| Cell { words, key });
    let name = digest.name(&row.target).to_string();
    let mut cells = first_cells(name, label.cloned());
    let mut own = own.into_iter();
    cells.extend(own.by_ref().take(WORK));
    cells.extend(more);
    cells.extend(own);
    cells
}
