//! The machine, the settings and the versions, and how to measure it again.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::Digest;
use crate::markdown::facts;
use crate::reproduce::config;

/// One result's.
pub(super) fn section(digest: &Digest<'_>, at: usize) -> Markup {
    let commit = digest.result.run.mlxbench.commit.as_deref();
    html! {
        section #(format!("machine-{at}")) {
            h2 { "Machine and versions" }
            @if let Some(description) = &digest.result.run.description { p { (description) } }
            dl.facts {
                @for (name, text) in facts(digest) {
                    div { dt { (name) } dd { (text) } }
                }
            }
            (frameworks(digest, at))
            h3 { "Measure it again" }
            p {
                "Save this as " code { "again.toml" }
                @if digest.result.run.config.is_some() { ", where the config that was run is," }
                " and run "
                @if let Some(commit) = commit { code { "git checkout " (commit) } " and " }
                code { "scripts/mlxbench run again.toml" }
                ": the same model, tests and targets. What the config leaves open is settled by the machine."
            }
            pre tabindex="0" role="region" aria-label=(format!("The config of result {}", at + 1)) {
                code { (config(digest.result)) }
            }
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
            h3 { "Versions" }
            div.scroll tabindex="0" role="region" aria-label=(format!("Frameworks and their libraries, result {}", at + 1)) {
                table {
                    thead { tr { @for column in ["target", "id", "framework", "threads", "libraries", "kernels", "device"] { th scope="col" { (column) } } } }
                    tbody { @for facts in targets { tr {
                        th scope="row" { (digest.name(&facts.id).to_string()) }
                        td { code { (facts.id.to_string()) } }
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
