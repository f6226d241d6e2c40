//! What the answer rests on: equivalence, limits, energy, warnings, the machine; and whether several
//! results may be compared.

use std::collections::BTreeMap;

use maud::{Markup, html};
use mlxbench_analysis::{Difference, differences};
use mlxbench_core::results::{Equivalence, Verdict};

use super::answer::name;
use crate::conditions;
use crate::limits::{details, limits};
use crate::markdown::facts;
use crate::warnings::warnings;
use crate::{Digest, partings, quantisation};

/// What is known of one result beside its figures.
pub(super) fn section(digest: &Digest<'_>, at: usize, name: &str) -> Markup {
    html! {
        section aria-labelledby=(format!("proof-{at}")) {
            h2 #(format!("proof-{at}")) { "What it rests on: " (name) }
            (warned(digest, at))
            (equivalence(digest, at))
            (quantised(digest, at))
            (timed_tokens(digest))
            (limited(digest))
            (power(digest))
            (devices(digest, at))
            h3 { "Machine and settings" }
            dl.facts {
                @for (name, text) in facts(digest) {
                    div { dt { (name) } dd { (text) } }
                }
            }
            (frameworks(digest, at))
        }
    }
}

/// Which results may be compared with the first, and what stands against it.
pub(super) fn comparable(digests: &[Digest<'_>]) -> Markup {
    let first = digests.first();
    let others = digests.iter().skip(1).filter_map(|other| {
        let differs = differences(first?.result, other.result);
        let differs: Vec<String> = differs.iter().map(Difference::to_string).collect();
        Some((name(other, digests.len()), differs))
    });
    html! {
        section #comparable {
            h2 { "May these be compared?" }
            @if let Some(first) = first {
                p { "Beside " strong { (name(first, digests.len())) } ":" }
            }
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

fn warned(digest: &Digest<'_>, at: usize) -> Markup {
    let warnings = warnings(digest);
    html! {
        @if !warnings.is_empty() {
            div.warnings #(format!("warnings-{at}")) {
                h3 { "Warnings" }
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
            h3 { "The same work? Compared with " (reference.to_string()) }
            div.scroll tabindex="0" role="region" aria-label=(format!("Equivalence with the reference, result {}", at + 1)) {
                table {
                    thead { tr {
                        @for column in ["target", "work", "mean KL", "largest KL", "same token", "first divergence", "reason"] {
                            th scope="col" { (column) }
                        }
                    } }
                    tbody { @for known in &result.equivalences { (compared(known)) } }
                }
            }
            p.hint { "KL is the Kullback-Leibler divergence of the next token's probabilities, in nats. The margin is by how much the reference preferred its own token where the two part: a small one is a matter of rounding." }
        }
    }
}

fn compared(known: &Equivalence) -> Markup {
    let class = if known.verdict == Verdict::Different {
        "different"
    } else {
        "ok"
    };
    let fidelity = known.fidelity.as_ref();
    let first = fidelity.and_then(|fidelity| fidelity.first_divergence.as_ref());
    html! {
        tr class=(class) {
            td { (known.target.to_string()) }
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

/// What quantising costs, and how quantised weights are kept.
fn quantised(digest: &Digest<'_>, at: usize) -> Markup {
    html! {
        @for table in quantisation::tables(digest) {
            h3 { (table.heading) }
            p { (table.about) }
            div.scroll tabindex="0" role="region" aria-label=(format!("{}, result {}", table.heading, at + 1)) {
                table {
                    thead { tr { @for column in table.header { th scope="col" { (column) } } } }
                    tbody { @for cells in &table.rows { tr {
                        @for (column, cell) in cells.iter().enumerate() {
                            @if table.figures.contains(&column) { td.figure { (cell) } } @else { td { (cell) } }
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
    let limits = limits(&digest.summary);
    html! {
        @if !limits.is_empty() {
            h3 { "What the machine can do" }
            ul {
                @for limit in &limits { li { (limit) } }
                @for detail in &details(digest.result) { li { (detail) } }
            }
        }
    }
}

/// Meters, and why there are none.
fn power(digest: &Digest<'_>) -> Markup {
    let meters = conditions::meters(digest.result);
    html! {
        @if !meters.is_empty() {
            h3 { "Power" }
            ul { @for meter in &meters { li { (meter) } } }
        }
    }
}

/// The state of the devices while they worked.
fn devices(digest: &Digest<'_>, at: usize) -> Markup {
    let rows = conditions::rows(digest);
    html! {
        @if !rows.is_empty() {
            h3 { "Device conditions" }
            div.scroll tabindex="0" role="region" aria-label=(format!("Clocks and temperatures, result {}", at + 1)) {
                table {
                    thead { tr { @for column in conditions::HEADER { th scope="col" { (column) } } } }
                    tbody { @for cells in &rows { tr { @for cell in cells { td { (cell) } } } } }
                }
            }
            p.hint { "Clocks: the median, and in brackets the lowest and the highest reading. Throttled measurements don't count unless nothing else is left." }
        }
    }
}

/// `oneDNN 3.12.0, tch 0.26.0`.
fn named(names: &BTreeMap<String, String>) -> String {
    let names = names.iter().map(|(name, what)| format!("{name} {what}"));
    names.collect::<Vec<_>>().join(", ")
}

fn frameworks(digest: &Digest<'_>, at: usize) -> Markup {
    let targets = &digest.result.targets;
    html! {
        @if !targets.is_empty() {
            h3 { "Frameworks" }
            div.scroll tabindex="0" role="region" aria-label=(format!("Frameworks and their libraries, result {}", at + 1)) {
                table {
                    thead { tr { @for column in ["target", "framework", "threads", "libraries", "kernels", "device"] { th scope="col" { (column) } } } }
                    tbody { @for facts in targets { tr {
                        td { (facts.id.to_string()) }
                        td { (facts.identity.framework) " " (facts.identity.version) }
                        td.figure { (facts.threads) }
                        td { (named(&facts.identity.libraries)) }
                        td { (named(&facts.kernels)) }
                        td { (facts.device_description.as_deref().unwrap_or_default()) }
                    } } }
                }
            }
        }
    }
}
