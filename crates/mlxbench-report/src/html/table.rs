//! Every row of every result: to sort by any column, to filter by backend, device and dtype.

use maud::{Markup, html};
use mlxbench_analysis::{Estimate, Row, RowStatus};
use mlxbench_core::results::Verdict;

use super::answer::name;
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
    /// What it is filtered by: backend, device, dtype.
    placement: [String; 3],
    cells: Vec<Cell>,
}

/// The table with its filters.
pub(super) fn section(digests: &[Digest<'_>], others: &[External]) -> Markup {
    let several = digests.len() > 1;
    let own = digests.iter().flat_map(|digest| {
        let rows = digest.summary.rows.iter();
        rows.map(|row| own(digest, row, digests.len()))
    });
    let files = others;
    let others = others.iter().flat_map(|external| {
        let rows = external.rows.iter();
        rows.map(move |row| other(external, row, several))
    });
    let lines: Vec<Line> = own.chain(others).collect();
    let filters = ["backend", "device", "dtype"];
    html! {
        section #rows {
            h2 #rows-heading { "All figures" }
            @if lines.is_empty() {
                p { "There are no rows: nothing was to be measured." }
            } @else {
                div.filters hidden {
                    @for (at, what) in filters.iter().enumerate() {
                        (filter(what, lines.iter().map(|line| line.placement[at].clone())))
                    }
                    output #shown role="status" { (lines.len()) " rows" }
                }
                div.scroll role="region" aria-labelledby="rows-heading" tabindex="0" {
                    table.rows {
                        thead { tr {
                            @for column in columns(several) {
                                th scope="col" aria-sort="none" { (column) }
                            }
                        } }
                        tbody {
                            @for Line { state, placement: [backend, device, dtype], cells, .. } in &lines {
                                tr class=(state) data-backend=(backend) data-device=(device) data-dtype=(dtype) {
                                    @for cell in cells {
                                        @if let Some(key) = cell.key {
                                            td.figure data-key=(key) { (cell.words) }
                                        } @else { td { (cell.words) } }
                                    }
                                }
                            }
                        }
                    }
                }
                p.hint { "± is the half of the 95 % interval of the median. Between processes: the standard deviation of end-to-end times between a target's processes, less what repetitions explain. Work: whether the target computed what the reference did." }
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

fn columns(several: bool) -> Vec<String> {
    let (before, after) = HEADER.split_at(WORK);
    let run = several.then_some("run");
    let names = run
        .into_iter()
        .chain(before.iter().copied())
        .chain(MORE)
        .chain(after.iter().copied());
    names.map(str::to_owned).collect()
}

fn filter(what: &str, values: impl Iterator<Item = String>) -> Markup {
    let mut values: Vec<String> = values.collect();
    values.sort_unstable();
    values.dedup();
    html! {
        label { (what) " "
            select data-filter=(what) {
                option value="" { "all" }
                @for value in &values { option value=(value) { (value) } }
            }
        }
    }
}

/// What a row's figures are worth: its class.
fn state(digest: &Digest<'_>, row: &Row) -> &'static str {
    let verdict = digest
        .result
        .equivalence_of(&row.target)
        .map(|known| known.verdict);
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
    let run = several.then(|| Cell {
        words: external.file.clone(),
        key: None,
    });
    let mut cells: Vec<Cell> = run.into_iter().collect();
    cells.extend(own.by_ref().take(WORK));
    cells.extend(MORE.map(|_| Cell {
        words: String::new(),
        key: None,
    }));
    cells.extend(own);
    Line {
        state: "external",
        placement: [row.backend.clone(), row.device.clone(), row.dtype.clone()],
        cells,
    }
}

/// A row of ours.
fn own(digest: &Digest<'_>, row: &Row, of: usize) -> Line {
    let placement = &row.target.placement;
    Line {
        state: state(digest, row),
        placement: [
            row.target.backend.clone(),
            placement.device.to_string(),
            placement.precision.to_string(),
        ],
        cells: own_cells(digest, row, of),
    }
}

fn own_cells(digest: &Digest<'_>, row: &Row, of: usize) -> Vec<Cell> {
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
    let run = (of > 1).then(|| Cell {
        words: name(digest, of),
        key: None,
    });
    let mut cells: Vec<Cell> = run.into_iter().collect();
    let mut own = own.into_iter();
    cells.extend(own.by_ref().take(WORK));
    cells.extend(more);
    cells.extend(own);
    cells
}
