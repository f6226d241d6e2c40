//! Every row of every result: to sort by any column, to filter by backend, device and dtype.

use maud::{Markup, html};
use mlxbench_analysis::{Estimate, Row, RowStatus};
use mlxbench_core::results::Verdict;

use super::answer::name;
use crate::cells::{self, HEADER, NOTE, WORK};
use crate::{Digest, units};

/// Columns that the other tables have no room for, before the verdict on the work.
const MORE: [&str; 5] = [
    "latency p50",
    "latency p99",
    "memory floor",
    "load",
    "J/token",
];

/// A cell: its words, and what it is sorted by.
struct Cell {
    words: String,
    key: Option<f64>,
}

/// The table with its filters.
pub(super) fn section(digests: &[Digest<'_>]) -> Markup {
    let several = digests.len() > 1;
    let columns = columns(several);
    let rows = digests
        .iter()
        .flat_map(|digest| digest.summary.rows.iter().map(move |row| (digest, row)));
    let rows: Vec<(&Digest<'_>, &Row)> = rows.collect();
    html! {
        section #rows aria-labelledby="rows-heading" {
            h2 #rows-heading { "All figures" }
            @if rows.is_empty() {
                p { "There are no rows: nothing was to be measured." }
            } @else {
                div.filters hidden {
                    (filter("backend", rows.iter().map(|(_, row)| row.target.backend.clone())))
                    (filter("device", rows.iter().map(|(_, row)| row.target.placement.device.to_string())))
                    (filter("dtype", rows.iter().map(|(_, row)| row.target.placement.dtype.to_string())))
                    output #shown role="status" { (rows.len()) " rows" }
                }
                div.scroll role="region" aria-labelledby="rows-heading" tabindex="0" {
                    table.rows {
                        thead { tr {
                            @for column in &columns {
                                th scope="col" aria-sort="none" { (column) }
                            }
                        } }
                        tbody {
                            @for (digest, row) in &rows {
                                tr class=(state(digest, row))
                                    data-backend=(row.target.backend)
                                    data-device=(row.target.placement.device.to_string())
                                    data-dtype=(row.target.placement.dtype.to_string()) {
                                    @for cell in line(digest, row, digests.len()) {
                                        @if let Some(key) = cell.key {
                                            td.figure data-key=(key) { (cell.words) }
                                        } @else { td { (cell.words) } }
                                    }
                                }
                            }
                        }
                    }
                }
                p.hint { "± is the half of the 95 % interval of the median. Work: whether the target computed what the reference did." }
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

fn line(digest: &Digest<'_>, row: &Row, of: usize) -> Vec<Cell> {
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
        bytes(row.peak_memory_bytes),
        None,
        None,
    ];
    let latency = |of: fn(&mlxbench_analysis::InterToken) -> Option<f64>| {
        row.inter_token_ns.as_ref().and_then(of)
    };
    let time = |ns: Option<f64>| (ns.map(units::time).unwrap_or_default(), ns);
    let more = [
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
                .map(units::rate)
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
    let mut line: Vec<Cell> = run.into_iter().collect();
    let mut own = own.into_iter();
    line.extend(own.by_ref().take(WORK));
    line.extend(more);
    line.extend(own.take(NOTE + 1 - WORK));
    line
}
