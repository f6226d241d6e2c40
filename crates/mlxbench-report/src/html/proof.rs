//! The evidence: caveats, equivalence, limits, energy; and whether several results may be compared.

use maud::{Markup, html};
use mlxbench_analysis::{Difference, differences};
use mlxbench_core::results::{Equivalence, Verdict};

use super::terms::{meaning, of_column, term};
use crate::answer::answer;
use crate::limits::{details, limits};
use crate::table::Table;
use crate::units;
use crate::warnings::warnings;
use crate::{Digest, checks, conditions as told, partings, quantisation, serving};

/// Whether the targets did the same work, and what quantising costs.
pub(super) fn correctness(digest: &Digest<'_>, at: usize) -> Markup {
    let answer = answer(digest);
    let work = answer.facts.iter().find(|(name, _)| *name == "Same work");
    html! {
        section #(format!("work-{at}")) {
            h2 { "Correctness" }
            @if let Some((_, said)) = work { p { strong { "Same work? " } (said) } }
            (equivalence(digest, at))
            (tables(&checks::tables(digest), at))
            (tables(&serving::tables(digest), at))
            (tables(&quantisation::tables(digest), at))
            (timed_tokens(digest))
        }
    }
}

/// Limits of the machine, its power and the state of its devices.
pub(super) fn conditions(digest: &Digest<'_>, at: usize) -> Markup {
    html! {
        (limited(digest))
        (power(digest))
        (devices(digest, at))
    }
}

/// Which results may be compared with the first, and what differs.
pub(super) fn comparable(digests: &[Digest<'_>], labels: &[String]) -> Markup {
    let first = digests.first();
    let others = digests
        .iter()
        .zip(labels)
        .skip(1)
        .filter_map(|(other, label)| {
            let differs = differences(first?.result, other.result);
            let differs: Vec<String> = differs.iter().map(Difference::to_string).collect();
            Some((label, differs))
        });
    html! {
        section #comparable {
            h2 { "May these be compared?" }
            @if let Some(first) = labels.first() { p { "With " strong { (first) } ":" } }
            ul {
                @for (name, differs) in others {
                    li {
                        strong { (name) } ": "
                        @if differs.is_empty() {
                            "yes, machine and work are the same."
                        } @else {
                            "only with care. Not the same: " (differs.join("; ")) "."
                        }
                    }
                }
            }
        }
    }
}

/// What to know before believing a figure.
pub(super) fn caveats(digest: &Digest<'_>, at: usize) -> Markup {
    let warnings = warnings(digest);
    html! {
        @if !warnings.is_empty() {
            section.warnings #(format!("warnings-{at}")) {
                h2 { "Caveats" }
                ul { @for warning in &warnings { li { (warning) } } }
            }
        }
    }
}

fn equivalence(digest: &Digest<'_>, at: usize) -> Markup {
    let result = digest.result;
    let Some(reference) = &result.run.settings.reference else {
        return html! {};
    };
    html! {
        @if !result.equivalences.is_empty() {
            h3 { (units::what_is_compared(result)) " with " (digest.name(reference).to_string()) }
            div.scroll tabindex="0" role="region" aria-label=(format!("Equivalence with the reference, result {}", at + 1)) {
                table {
                    thead { tr {
                        @for column in ["target", "work", "mean KL", "largest KL", "same token", "first divergence", "reason"] {
                            th scope="col" title=(meaning(of_column(column))) { (column) }
                        }
                    } }
                    tbody { @for known in &result.equivalences { (compared(digest, known)) } }
                }
            }
            p.hint { (term("kl", "KL")) " in nats. The margin is by how much the reference preferred its own token where the two part: a small one is a matter of rounding." }
        }
    }
}

fn compared(digest: &Digest<'_>, known: &Equivalence) -> Markup {
    let class = if known.verdict == Verdict::Different {
        "different"
    } else {
        "ok"
    };
    let fidelity = known.fidelity.as_ref();
    let first = fidelity.and_then(|fidelity| fidelity.first_divergence.as_ref());
    html! {
        tr class=(class) {
            th scope="row" { (digest.name(&known.target).to_string()) }
            td { (known.verdict.name()) }
            @if let Some(fidelity) = fidelity {
                td.figure { (format!("{:.1e}", fidelity.mean_kl)) }
                td.figure { (format!("{:.1e}", fidelity.largest_kl)) }
                td.figure { (fidelity.agreeing_positions) " of " (fidelity.positions) }
            } @else { td {} td {} td {} }
            td {
                @if let Some(first) = first {
                    "position " (first.position)
                    @if first.row > 0 { " of row " (first.row) }
                    ": " (first.token) " for " (first.reference_token)
                    ", margin " (format!("{:.2}", first.margin))
                } @else if fidelity.is_some() { "none" }
            }
            td { (known.reason.as_deref().unwrap_or_default()) }
        }
    }
}

/// Tables below one another, each with its heading.
pub(super) fn tables(tables: &[Table], at: usize) -> Markup {
    html! {
        @for table in tables {
            h3 { (table.heading) }
            p { (table.about) }
            div.scroll tabindex="0" role="region" aria-label=(format!("{}, result {}", table.heading, at + 1)) {
                table {
                    thead { tr { @for column in table.header { th scope="col" { (column) } } } }
                    tbody { @for cells in &table.rows { tr.different[table.is_different(cells)] {
                        @for (column, cell) in cells.iter().enumerate() {
                            @if column == 0 { th scope="row" { (cell) } }
                            @else if table.figures.contains(&column) { td.figure { (cell) } }
                            @else { td { (cell) } }
                        }
                    } } }
                }
            }
        }
    }
}

/// Whether timed tokens are the reference's.
fn timed_tokens(digest: &Digest<'_>) -> Markup {
    let lines = partings::lines(digest);
    html! {
        @if !lines.is_empty() {
            p { (partings::HEADING) }
            ul { @for line in &lines { li { (line) } } }
        }
    }
}

fn limited(digest: &Digest<'_>) -> Markup {
    let limits = limits(digest);
    html! {
        @if !limits.is_empty() {
            h3 { "What the machine can do" }
            ul {
                @for limit in &limits { li { (limit) } }
                @for detail in &details(digest) { li { (detail) } }
            }
        }
    }
}

/// Meters, and why there are none.
fn power(digest: &Digest<'_>) -> Markup {
    let meters = told::meters(digest.result);
    html! {
        @if !meters.is_empty() {
            h3 { "Power" }
            ul { @for meter in &meters { li { (meter) } } }
        }
    }
}

/// The state of the devices while they worked.
fn devices(digest: &Digest<'_>, at: usize) -> Markup {
    let rows = told::rows(digest);
    html! {
        @if !rows.is_empty() {
            h3 { "Device conditions" }
            div.scroll tabindex="0" role="region" aria-label=(format!("Clocks and temperatures, result {}", at + 1)) {
                table {
                    thead { tr { @for column in told::HEADER { th scope="col" { (column) } } } }
                    tbody { @for cells in &rows { tr { @for cell in cells { td { (cell) } } } } }
                }
            }
            p.hint { "Clocks: the median, and in brackets the lowest and the highest reading. Throttled measurements don't count unless nothing else is left." }
        }
    }
}
