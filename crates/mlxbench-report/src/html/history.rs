//! The page of results over time.

use maud::{Markup, html};
use mlxbench_analysis::history::Group;

use super::{figures, page, raw, table};
use crate::across;
use crate::charts::over_time;
use crate::draw::theme::Palette;
use crate::history::{Joined, MEASURES, place};
use crate::units;

/// The page.
pub(crate) fn render(joined: &Joined<'_>) -> String {
    let digests = joined.digests;
    let backends = digests.iter().flat_map(|digest| &digest.result.run.targets);
    let palette = Palette::new(backends.map(|target| target.backend.as_str()));
    let heading = joined.headline();
    let body = html! {
        header {
            p.brand { "mlxbench" }
            h1 { (heading) "." }
            p.where {
                "Results are joined where machine, model, prompts and settings are the same. A ring \
                 marks where a level changed by 2 % or more: Pettitt's test, significance 1 %, and 5 % for \
                 all series together; it takes 10 results. Bars are 95 % intervals."
            }
        }
        main {
            @for (at, group) in joined.groups.iter().enumerate() {
                (section(joined, group, at, &palette))
            }
            (table::section(digests, &across::labels(digests), &[]))
            (raw::section(digests))
        }
        footer { p { "Written by mlxbench " (env!("CARGO_PKG_VERSION")) ". This page needs no network and sends nothing." } }
    };
    page(&heading, body)
}

fn section(joined: &Joined<'_>, group: &Group, at: usize, palette: &Palette) -> Markup {
    let digests = joined.digests;
    let first = &digests[group.results[0]];
    let run = &first.result.run;
    let members = group.results.iter().map(|&index| &digests[index]);
    let names = joined.names(group);
    let places: Vec<String> = members.map(place).collect();
    let events = joined.events(group);
    let notes = notes(joined, group, &names);
    html! {
        section aria-labelledby=(format!("group-{at}")) {
            h2 #(format!("group-{at}")) { (run.name) ": " (run.model.name) " on " (run.machine.cpu) }
            p.where {
                (run.machine.physical_cores.unwrap_or(run.machine.logical_cores)) " cores, "
                (units::bytes(run.machine.memory_bytes)) " of memory, " (run.machine.os)
                "; " (group.results.len())
                @if group.results.len() == 1 { " result" } @else { " results" }
            }
            @if events.is_empty() {
                p { "No level changed, as far as these results can tell." }
            } @else {
                ul.lines {
                    @for event in &events {
                        li {
                            @if event.is_worse() { strong { (event.sentence()) } } @else { (event.sentence()) }
                            ", " (event.day)
                        }
                    }
                }
                details {
                    summary { "Every figure of these changes" }
                    div.scroll tabindex="0" role="region" aria-label=(format!("Changes of level, group {}", at + 1)) {
                        table {
                            thead { tr { @for column in ["at", "target", "test", "figure", "before", "after", "change", "p"] { th scope="col" { (column) } } } }
                            tbody {
                                @for level in events.iter().flat_map(|event| &event.levels) { tr {
                                    @let (point, change) = &level.change;
                                    td { (names[point.at]) }
                                    td { (joined.name(group, &level.series.target).to_string()) }
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
                ul { @for note in &notes { li { (note) } } }
            }
            div.charts {
                @for measure in &MEASURES {
                    @for chart in over_time::charts(joined, group, measure, &places, palette) {
                        (figures::figure(&chart, at))
                    }
                }
            }
        }
    }
}

/// Other versions and gaps, the newest first.
fn notes(joined: &Joined<'_>, group: &Group, names: &[String]) -> Vec<String> {
    let points = group.series.iter().flat_map(|series| {
        let points = series.points.iter();
        points.map(move |point| (point.at, series, point))
    });
    let notes = points.flat_map(|(at, series, point)| {
        let changed = point
            .changed
            .as_ref()
            .map(|changed| format!("{}: {changed}", joined.name(group, &series.target)));
        let gap = point.gap.as_ref().map(|gap| {
            format!(
                "{} {}: {gap}",
                joined.name(group, &series.target),
                series.test
            )
        });
        changed.into_iter().chain(gap).map(move |note| (at, note))
    });
    let mut notes: Vec<(usize, String)> = notes.collect();
    notes.sort();
    // A version is that of all tests of a target.
    notes.dedup();
    notes
        .into_iter()
        .rev()
        .map(|(at, note)| format!("{}: {note}", names[at]))
        .collect()
}
