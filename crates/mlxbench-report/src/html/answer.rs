//! The first screen: where the figures hold, who is fastest, a chart, a table, and how sure that is.

use maud::{Markup, html};
use mlxbench_core::results::{Metric, Test};

use super::figures;
use super::terms::{meaning, of_column, term};
use crate::across::{self, labels, shared_test, tests};
use crate::answer::answer;
use crate::charts;
use crate::draw::theme::Palette;
use crate::first::{Compact, banner, by_kind, caveats, compact, model, spelled, sureness};
use crate::machine::whole;
use crate::{Digest, units};

/// The document's title; `others` says whether there are figures of other programs.
pub(super) fn title(digests: &[Digest<'_>], others: bool) -> String {
    match digests {
        [] if others => "Figures of other programs".into(),
        [] => "No results".into(),
        [only] => format!("{}: {}", only.result.run.name, answer(only).headline),
        several => across::answer(several).0,
    }
}

/// The answer of one result, or of several together.
pub(super) fn section(digests: &[Digest<'_>], others: bool, palette: &Palette) -> Markup {
    html! {
        section #answer {
            @match digests {
                [] if others => h1 { "Figures of other programs" },
                [] => h1 { "No results" },
                [only] => (of_one(only, palette)),
                several => (of_several(several, palette)),
            }
        }
    }
}

fn of_one(digest: &Digest<'_>, palette: &Palette) -> Markup {
    let run = &digest.result.run;
    let answer = answer(digest);
    let test = digest.main_test();
    let charts = charts::of_answer(digest, palette);
    let tests: Vec<Test> = test.into_iter().collect();
    // The main test, and of another kind all.
    let of_main = |kind: &Vec<Test>| kind.iter().any(|one| tests.contains(one));
    let mut kinds = by_kind(&run.tests);
    if let Some(main) = kinds.iter_mut().find(|kind| of_main(kind)) {
        main.clone_from(&tests);
    }
    html! {
        (banners(&banner(digest.result)))
        h1 { (answer.headline) "." }
        p.where {
            strong { (model(digest.result)) } " (" (units::parameters(run.model.parameters)) ") on "
            (whole(digest.result)) "; "
            @if let Some(test) = &test {
                (term("test", &test.to_string())) ": " (spelled(test)) "; "
            }
            (units::repetitions(digest.result)) "; "
            (run.started.strftime("%Y-%m-%d"))
        }
        @if !tests.is_empty() {
            div.first {
                @if let Some(hero) = charts.first() { (figures::hero(hero)) }
                @for tests in &kinds {
                    @if kinds.len() > 1 {
                        @let names: Vec<String> = tests.iter().map(Test::to_string).collect();
                        p.hint { strong { (names.join(", ")) } }
                    }
                    (table(&[(String::new(), compact(digest, tests))]))
                }
            }
            p.sure {
                strong { "How sure? " }
                @for said in sureness(digest) { (said) ". " }
                @if let Some(caveats) = caveats(digest) { a href="#warnings-0" { (caveats) } "." }
            }
        }
        @if let Some((_, missing)) = answer.facts.iter().find(|(name, _)| *name == "Not measured") {
            p.sure { strong { "Not measured: " } (missing) }
        }
    }
}

fn of_several(digests: &[Digest<'_>], palette: &Palette) -> Markup {
    let (headline, lines) = across::answer(digests);
    let labels = labels(digests);
    let charts = charts::across::charts(digests, palette);
    let shared = shared_test(digests, Metric::Decode);
    let tests = tests(digests, Metric::Decode);
    let tables = digests
        .iter()
        .zip(&labels)
        .zip(tests)
        .map(|((digest, label), test)| {
            let test = test.or_else(|| digest.main_test());
            let label = match test.filter(|test| Some(*test) != shared) {
                Some(test) => format!("{label}, {test}"),
                None => label.clone(),
            };
            (
                label,
                compact(digest, &test.into_iter().collect::<Vec<_>>()),
            )
        });
    let tables: Vec<(String, Compact)> = tables.collect();
    let mut said: Vec<String> = digests
        .iter()
        .flat_map(|digest| banner(digest.result))
        .collect();
    said.sort();
    said.dedup();
    html! {
        (banners(&said))
        h1 { (headline) "." }
        p.where {
            (digests.len()) " results"
            @if let Some(test) = &shared { ", side by side in " (term("test", &test.to_string())) ": " (spelled(test)) }
            ". "
            a href="#comparable" { "May these be compared?" }
        }
        @if !lines.is_empty() {
            ul.lines { @for line in &lines { li { (line) "." } } }
        }
        div.first {
            @for chart in &charts { (figures::hero(chart)) }
            @if tables.iter().any(|(_, compact)| !compact.lines.is_empty()) { (table(&tables)) }
        }
    }
}

fn banners(said: &[String]) -> Markup {
    html! {
        @if !said.is_empty() {
            div.banner role="note" aria-label="Where these figures hold" {
                @for sentence in said { p { (sentence) "." } }
            }
        }
    }
}

/// The compact tables of results, one below the other, with the result's label where there are several.
fn table(tables: &[(String, Compact)]) -> Markup {
    let several = tables.len() > 1;
    let columns = tables.iter().map(|(_, compact)| &compact.columns);
    let columns = columns.max_by_key(|columns| columns.len());
    let Some(columns) = columns else {
        return html! {};
    };
    html! {
        div {
        div.scroll tabindex="0" role="region" aria-label="Each framework in each precision" {
            table.compact.cards {
                thead { tr {
                    th scope="col" { "target" }
                    @if several { th scope="col" { "result" } }
                    @for column in columns {
                        th scope="col" title=(meaning(of_column(column))) { (column) (better(column)) }
                    }
                } }
                tbody {
                    @for (label, compact) in tables { @for line in &compact.lines {
                        tr data-target=(line.key) class=(if line.fault.is_empty() { "ok" } else { "failed" }) {
                            th scope="row" { (line.name) }
                            @if several { td data-label="result" { (label) } }
                            @if line.fault.is_empty() {
                                @for (at, column) in columns.iter().enumerate() {
                                    @let cell = line.cells.get(at).cloned().unwrap_or_default();
                                    td.figure[at < compact.figures] data-label=(column) {
                                        @if cell.best { strong { (cell.words) } } @else { (cell.words) }
                                    }
                                }
                            } @else {
                                td.fault colspan=(columns.len()) data-label="why" { (line.fault) }
                            }
                        }
                    } }
                }
            }
        }
        @let unsteady = tables.iter().any(|(_, compact)| compact.has_unsteady());
        p.hint {
            "Bold: best of its precision, or within noise of it. "
            @if unsteady { "* " (term("steady", "not steady")) ", not ranked. " }
        }
        }
    }
}

/// An arrow that says which way a column is better.
pub(super) fn better(column: &str) -> Markup {
    let (arrow, words) = match column {
        "trained t/s" | "overall t/s" | "output t/s" | "t/s per request" | "goodput req/s"
        | "generate t/s" | "decode t/s" | "prompt t/s" | "prefill t/s" | "MBU" | "MFU" => {
            ("↑", "higher is better")
        }
        "a step" | "first TTFT" | "warm TTFT" | "cold TTFT" | "TTFT" | "memory" | "peak memory"
        | "latency p50" | "latency p99" | "load" | "energy/token" | "between processes" => {
            ("↓", "lower is better")
        }
        _ => return html! {},
    };
    html! { span.better title=(words) { " " (arrow) } }
}

/// The parts of the page.
pub(super) fn contents(parts: &[(String, &str)]) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul { @for (link, name) in parts { li { a href=(format!("#{link}")) { (name) } } } }
        }
    }
}
