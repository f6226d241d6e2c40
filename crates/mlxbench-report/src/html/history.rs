//! The page of results over time.

use maud::{Markup, html};
use mlxbench_analysis::history::Entry;

use super::{figures, page, raw, table};
use crate::charts::over_time;
use crate::draw::theme::Palette;
use crate::history::{Line, MEASURES, name};
use crate::{Digest, across, units};

/// Bytes of all charts of a page at most: a browser opens it, and mail takes it.
const MOST_CHARTS: usize = 6 << 20;

/// Groups, and changes and notes of each, that are told at most.
const MOST: usize = 50;

/// The page: all `entries` in their groups, and every figure of the newest of them.
pub(crate) fn render(
    heading: &str,
    entries: &[Entry],
    lines: &[Line<'_>],
    newest: &[Digest<'_>],
) -> String {
    let backends = entries.iter().flat_map(|entry| &entry.targets);
    let palette = Palette::new(backends.map(|target| target.backend.as_str()));
    let (sections, left_out) = sections(lines, &palette);
    let older = entries.len().saturating_sub(newest.len());
    let body = html! {
        header {
            p.brand { "mlxbench" }
            h1 { (heading) "." }
            p.where {
                "Results are joined where machine, model, prompts and settings are the same. A ring \
                 marks where a level changed by 2 % or more: Pettitt's test, significance 1 %, and 5 % for \
                 all series together; it takes 10 results. Bars are 95 % intervals where a chart says nothing else."
            }
        }
        main {
            @for section in sections.into_iter().flatten() { (section) }
            @if left_out > 0 {
                p { (left_out) " more kinds of results, older ones, have no room here: give "
                    code { "mlxbench history" } " a folder with fewer." }
            }
            @if older > 0 {
                p { "Of the newest " (newest.len()) " results every figure follows, and their raw data; the other "
                    (older) " are in their files, which " code { "mlxbench report" } " shows." }
            }
            (table::section(newest, &across::labels(newest), &[]))
            (raw::section(newest))
        }
        footer { p { "Written by mlxbench " (env!("CARGO_PKG_VERSION")) ". This page needs no network and sends nothing." } }
    };
    page(heading, body)
}

/// A section for each group, in their order; where there isn't room for all, of those with the newest results, and how
/// many have none.
fn sections(lines: &[Line<'_>], palette: &Palette) -> (Vec<Option<Markup>>, usize) {
    let mut newest: Vec<usize> = (0..lines.len()).collect();
    let last = |line: &Line<'_>| line.entry(line.group.results.len() - 1).started;
    newest.sort_by_key(|&at| std::cmp::Reverse(last(&lines[at])));
    let mut sections: Vec<Option<Markup>> = vec![None; lines.len()];
    let mut room = MOST_CHARTS;
    for &at in newest.iter().take(MOST) {
        let charts = html! {
            div.charts {
                @for measure in &MEASURES {
                    @for chart in over_time::charts(&lines[at], measure, palette) {
                        (figures::figure(&chart, at))
                    }
                }
            }
        };
        let fits = charts.0.len() <= room;
        room -= if fits { charts.0.len() } else { 0 };
        sections[at] = Some(section(&lines[at], at, fits.then_some(charts)));
    }
    (sections, lines.len().saturating_sub(MOST))
}

fn section(line: &Line<'_>, at: usize, charts: Option<Markup>) -> Markup {
    let first = line.first();
    let (machine, results) = (&first.machine, line.group.results.len());
    let events = line.events();
    let notes = notes(line);
    html! {
        section aria-labelledby=(format!("group-{at}")) {
            h2 #(format!("group-{at}")) { (first.config) ": " (first.model) " on " (machine.cpu) }
            p.where {
                (machine.physical_cores.unwrap_or(machine.logical_cores)) " cores, "
                (units::bytes(machine.memory_bytes)) " of memory, " (machine.os)
                "; " (results)
                @if results == 1 { " result" } @else { " results" }
            }
            @if events.is_empty() {
                p { "No level changed, as far as these results can tell." }
            } @else {
                ul.lines {
                    @for event in events.iter().take(MOST) {
                        li {
                            @if event.is_worse() { strong { (event.sentence()) } } @else { (event.sentence()) }
                            ", " (event.day)
                        }
                    }
                    (more(events.len(), "earlier changes"))
                }
                details {
                    summary { "Every figure of these changes" }
                    div.scroll tabindex="0" role="region" aria-label=(format!("Changes of level, group {}", at + 1)) {
                        table {
                            thead { tr { @for column in ["at", "target", "test", "figure", "before", "after", "change", "p"] { th scope="col" { (column) } } } }
                            tbody {
                                @for level in events.iter().take(MOST).flat_map(|event| &event.levels) { tr {
                                    @let change = &level.change;
                                    td { (name(line.entry(level.at))) }
                                    td { (line.name(&level.series.target).to_string()) }
                                    td { (level.series.test.to_string()) }
                                    td { (level.measure.title) ", " (level.measure.axis) }
                                    td.figure { (crate::draw::number(change.before)) }
                                    td.figure { (crate::draw::number(change.after)) }
                                    td.figure { (format!("{:+.1} %", change.change * 100.0)) }
                                    td.figure { (crate::draw::number(change.p_value)) }
                                } }
                            }
                        }
                    }
                }
            }
            @if !notes.is_empty() {
                h3 { "What else changed, and gaps" }
                ul {
                    @for note in notes.iter().take(MOST) { li { (note) } }
                    (more(notes.len(), "earlier ones"))
                }
            }
            @match charts {
                Some(charts) => (charts),
                None => p { "Its charts have no room on this page: give " code { "mlxbench history" } " a folder with fewer results." },
            }
        }
    }
}

/// How many of a list have no room in it.
fn more(all: usize, what: &str) -> Markup {
    html! { @if all > MOST { li { "and " (all - MOST) " " (what) } } }
}

/// Other versions and gaps, the newest first.
fn notes(line: &Line<'_>) -> Vec<String> {
    let points = line.group.series.iter().flat_map(|series| {
        let points = series.points.iter();
        points.map(move |point| (point.at, series, point))
    });
    let notes = points.flat_map(|(at, series, point)| {
        let name = || line.name(&series.target);
        let changed = point.changed.as_ref();
        let changed = changed.map(|changed| format!("{}: {changed}", name()));
        let gap = point.gap.as_ref();
        let gap = gap.map(|gap| format!("{} {}: {gap}", name(), series.test));
        changed.into_iter().chain(gap).map(move |note| (at, note))
    });
    let mut notes: Vec<(usize, String)> = notes.collect();
    notes.sort();
    // A version is that of all tests of a target.
    notes.dedup();
    let notes = notes.into_iter().rev();
    notes
        .map(|(at, note)| format!("{}: {note}", name(line.entry(at))))
        .collect()
}
