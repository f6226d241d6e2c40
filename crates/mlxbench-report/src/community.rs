//! The page of everybody's results, by chip.

use std::collections::BTreeMap;

use maud::{Markup, html};
use mlxbench_analysis::Row;
use mlxbench_core::results::RunResult;

use crate::cells::{self, Cells, HEADER};
use crate::figures::{Column, FIGURES, Figure, figures};
use crate::{Digest, html as page, machine, units};

/// The page: a section a chip, a row a target and test of each model, of the newest result that has it.
pub(crate) fn render(chips: &BTreeMap<String, Vec<RunResult>>) -> String {
    let body = html! {
        header {
            p.brand { "mlxbench" }
            h1 { "Gemma by chip" }
            p.where {
                (chips.len()) " chips and memory sizes. Results that people shared with " code { "mlxbench share" } ". Nobody but them has seen them \
                 measured. Rates are medians with 95 % intervals; of each row the newest result counts."
            }
        }
        main {
            @for (chip, results) in chips { (section(chip, results)) }
        }
        footer { p { "Written by mlxbench " (env!("CARGO_PKG_VERSION")) ". This page needs no network and sends nothing." } }
    };
    page::page("Gemma by chip", body)
}

fn section(chip: &str, results: &[RunResult]) -> Markup {
    let digests: Vec<Digest<'_>> = results.iter().map(Digest::new).collect();
    let newest = results.iter().max_by_key(|result| result.run.started);
    let rows = rows(&digests);
    let has = |figure: &&Figure| rows.iter().any(|(_, row)| figure.of(row).is_some());
    let more = FIGURES
        .iter()
        .filter(|figure| figure.column == Column::OfKind);
    let more: Vec<&Figure> = more.filter(has).collect();
    html! {
        section aria-labelledby=(chip) {
            h2 #(chip) { (newest.map(machine::processors).unwrap_or_default()) }
            @if let Some(result) = newest {
                p.where {
                    (units::bytes(result.run.machine.memory_bytes)) " of memory; " (results.len())
                    @if results.len() == 1 { " result" } @else { " results" }
                }
            }
            div.scroll role="region" aria-labelledby=(chip) tabindex="0" {
                table.rows {
                    thead { tr {
                        @for column in HEADER { th scope="col" { (column) } }
                        @for one in &more { th scope="col" { (one.name) ", " (one.unit) } }
                        th scope="col" { "OS" }
                        th scope="col" { "date" }
                    } }
                    tbody {
                        @for (digest, row) in rows {
                            @let cells: Cells = cells::cells(digest.result, row);
                            tr {
                                @for cell in &cells { td { (cell) } }
                                @for one in &more { td { (one.of(row).as_ref().map(units::rate).unwrap_or_default()) } }
                                td { (digest.result.run.machine.os) }
                                td { (digest.result.run.started.strftime("%F")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Rows with figures, each of the newest result that has it: model by model and test by test, the fastest first.
fn rows<'a>(digests: &'a [Digest<'a>]) -> Vec<(&'a Digest<'a>, &'a Row)> {
    let mut newest: BTreeMap<String, (&Digest<'_>, &Row)> = BTreeMap::new();
    for digest in digests {
        for row in digest.summary.rows.iter().filter(|row| row.repetitions > 0) {
            let key = format!(
                "{} {} {}",
                digest.result.run.model.name, row.target, row.test
            );
            let known = newest.get(&key).map(|(known, _)| known.result.run.started);
            if known.is_none_or(|known| known < digest.result.run.started) {
                newest.insert(key, (digest, row));
            }
        }
    }
    let mut rows: Vec<_> = newest.into_values().collect();
    let rate = |row: &Row| {
        let rates = figures(row).filter(|(one, _)| one.higher_is_better);
        let rate = row
            .decode_tokens_per_second
            .or(rates.map(|(_, rate)| rate).next());
        rate.map_or(0.0, |rate| rate.median)
    };
    rows.sort_by(|(a, x), (b, y)| {
        let name = |digest: &Digest<'_>, row: &Row| {
            (digest.result.run.model.name.clone(), row.test.to_string())
        };
        let by_name = name(a, x).cmp(&name(b, y));
        by_name.then(rate(y).total_cmp(&rate(x)))
    });
    rows
}
