//! The page of results over time.

use maud::{Markup, html};
use mlxbench_analysis::change_points::FEWEST_FOR_CHANGE_POINT;
use mlxbench_analysis::history::{Group, Series};
use mlxbench_analysis::{Estimate, Row, history};

use super::{figures, page, raw, table};
use crate::Digest;
use crate::charts::over_time::{self, Measure};
use crate::draw::theme::Palette;
use crate::units;

/// What is looked at over time.
const MEASURES: [Measure; 4] = [
    Measure {
        name: "decode",
        title: "Decode rate",
        axis: "tokens a second",
        figure: |row| row.decode_tokens_per_second,
    },
    Measure {
        name: "prefill",
        title: "Prefill rate",
        axis: "tokens a second",
        figure: |row| row.prefill_tokens_per_second,
    },
    Measure {
        name: "ttft",
        title: "Time to first token",
        axis: "milliseconds",
        figure: |row| Some(row.ttft_ns?.scaled(1e-6)),
    },
    Measure {
        name: "memory",
        title: "Peak memory",
        axis: "MiB",
        figure: peak,
    },
];

/// The peak, in MiB: one figure of all repetitions.
fn peak(row: &Row) -> Option<Estimate> {
    let bytes = row.peak_bytes()?;
    Some(Estimate {
        median: bytes as f64 / f64::from(1 << 20),
        interval: None,
        n: row.repetitions,
    })
}

/// The page of `digests`, in whatever order.
pub(crate) fn render(digests: &[Digest<'_>]) -> String {
    let pairs: Vec<_> = digests
        .iter()
        .map(|digest| (digest.result, &digest.summary))
        .collect();
    let groups = history(&pairs);
    let backends = digests.iter().flat_map(|digest| &digest.result.run.targets);
    let palette = Palette::new(backends.map(|target| target.backend.as_str()));
    let heading = headline(&groups, digests.len());
    let body = html! {
        header {
            p.brand { "mlxbench" }
            h1 { (heading) "." }
            p.where {
                "Results are joined where machine, model, prompts and settings are the same. A ring \
                 marks where a level changed: by Pettitt's test, at a significance of 1 %, by 2 % at \
                 least, which takes 10 results. Bars are 95 % intervals."
            }
        }
        main {
            @for (at, group) in groups.iter().enumerate() {
                (section(group, at, digests, &palette))
            }
            (table::section(digests, &[]))
            (raw::section(digests))
        }
        footer { p { "Written by mlxbench " (env!("CARGO_PKG_VERSION")) ". This page needs no network and sends nothing." } }
    };
    page(&heading, body)
}

/// All changes of level: of which measure, of which series.
fn changes(group: &Group) -> Vec<(&'static Measure, &Series, over_time::Change<'_>)> {
    let mut found = Vec::new();
    for measure in &MEASURES {
        for series in &group.series {
            let changes = series.changes(measure.figure).into_iter();
            found.extend(changes.map(|change| (measure, series, change)));
        }
    }
    found
}

fn headline(groups: &[Group], results: usize) -> String {
    let changes: usize = groups.iter().map(|group| changes(group).len()).sum();
    let changed = match changes {
        0 if groups
            .iter()
            .all(|group| group.results.len() < FEWEST_FOR_CHANGE_POINT) =>
        {
            format!("too few to tell of changes, which takes {FEWEST_FOR_CHANGE_POINT} alike")
        }
        0 => "no level changed".to_owned(),
        1 => "one level changed".to_owned(),
        several => format!("{several} levels changed"),
    };
    match results {
        0 => "No results".into(),
        1 => format!("1 result: {changed}"),
        several => format!("{several} results: {changed}"),
    }
}

fn section(group: &Group, at: usize, digests: &[Digest<'_>], palette: &Palette) -> Markup {
    let first = &digests[group.results[0]];
    let run = &first.result.run;
    let members = || group.results.iter().map(|&index| &digests[index]);
    let names: Vec<String> = members().map(name).collect();
    let places: Vec<String> = members().map(place).collect();
    let changes = changes(group);
    let notes = notes(group, &names);
    html! {
        section aria-labelledby=(format!("group-{at}")) {
            h2 #(format!("group-{at}")) { (run.name) ": " (run.model.name) " on " (run.machine.cpu) }
            p.where {
                (run.machine.physical_cores.unwrap_or(run.machine.logical_cores)) " cores, "
                (units::bytes(run.machine.memory_bytes)) " of memory, " (run.machine.os)
                "; " (group.results.len())
                @if group.results.len() == 1 { " result" } @else { " results" }
            }
            @if changes.is_empty() {
                p { "No level changed, as far as these results can tell." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label=(format!("Changes of level, group {}", at + 1)) {
                    table {
                        thead { tr { @for column in ["at", "target", "test", "figure", "before", "after", "change", "p"] { th scope="col" { (column) } } } }
                        tbody {
                            @for (measure, series, (point, change)) in &changes { tr {
                                td { (names[point.at]) }
                                td { (series.target.to_string()) }
                                td { (series.test.to_string()) }
                                td { (measure.title) ", " (measure.axis) }
                                td.figure { (crate::draw::number(change.before)) }
                                td.figure { (crate::draw::number(change.after)) }
                                td.figure { (format!("{:+.1} %", change.change * 100.0)) }
                                td.figure { (crate::draw::number(change.p_value)) }
                            } }
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
                    @for chart in over_time::charts(group, measure, &places, palette) {
                        (figures::figure(&chart, at))
                    }
                }
            }
        }
    }
}

/// A result's place on the axis: its commit, or the day where that isn't known.
fn place(digest: &Digest<'_>) -> String {
    let run = &digest.result.run;
    match &run.mlxbench.commit {
        Some(commit) => commit.chars().take(7).collect(),
        None => run.started.strftime("%m-%d").to_string(),
    }
}

/// A result's name in words.
fn name(digest: &Digest<'_>) -> String {
    let when = digest.result.run.started.strftime("%Y-%m-%d %H:%M");
    format!("{} {when}", place(digest))
}

/// Other versions and gaps, in the order of time.
fn notes(group: &Group, names: &[String]) -> Vec<String> {
    let points = group.series.iter().flat_map(|series| {
        let points = series.points.iter();
        points.map(move |point| (point.at, series, point))
    });
    let notes = points.flat_map(|(at, series, point)| {
        let changed = point
            .changed
            .as_ref()
            .map(|changed| format!("{}: {changed}", series.target));
        let gap = point
            .gap
            .as_ref()
            .map(|gap| format!("{} {}: {gap}", series.target, series.test));
        changed.into_iter().chain(gap).map(move |note| (at, note))
    });
    let mut notes: Vec<(usize, String)> = notes.collect();
    notes.sort();
    // A version is that of all tests of a target.
    notes.dedup();
    notes
        .into_iter()
        .map(|(at, note)| format!("{}: {note}", names[at]))
        .collect()
}
