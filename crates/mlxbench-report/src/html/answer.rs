//! The first screen: the answer, and where it holds.

use maud::{Markup, html};

use crate::answer::answer;
use crate::machine::processors;
use crate::warnings::warnings;
use crate::{Digest, units};

/// The document's title; `others` says whether there are figures of other programs.
pub(super) fn title(digests: &[Digest<'_>], others: bool) -> String {
    match digests {
        [] if others => "Figures of other programs".into(),
        [] => "No results".into(),
        [only] => format!("{}: {}", only.result.run.name, answer(only).headline),
        several => format!("{} results of mlxbench", several.len()),
    }
}

/// What one result of several is called: its config, machine and time.
pub(super) fn name(digest: &Digest<'_>, of: usize) -> String {
    let run = &digest.result.run;
    if of < 2 {
        return run.name.clone();
    }
    let when = run.started.strftime("%Y-%m-%d %H:%M");
    format!("{} on {}, {when}", run.name, processors(digest.result))
}

/// The heading of the page.
pub(super) fn header(digests: &[Digest<'_>], others: bool) -> Markup {
    html! {
        @match digests {
            [] if others => h1 { "Figures of other programs" },
            [] => h1 { "No results" },
            [only] => { h1 { (answer(only).headline) "." } },
            several => { h1 { (several.len()) " results, side by side" } },
        }
    }
}

/// A result's answer, with the model and the machine it holds for.
pub(super) fn section(digest: &Digest<'_>, at: usize, of: usize) -> Markup {
    let run = &digest.result.run;
    let answer = answer(digest);
    let warned = warnings(digest).len();
    let heading = format!("answer-{at}");
    html! {
        section.answer aria-labelledby=(heading) {
            h2 #(heading) {
                @if of > 1 { (name(digest, of)) } @else { "The answer, and what it rests on" }
            }
            @if of > 1 { p.headline { (answer.headline) "." } }
            p.where {
                strong { (run.model.name) }
                " (" (units::count(run.model.parameters)) " parameters) on "
                strong { (processors(digest.result)) }
                ", " (run.machine.physical_cores.unwrap_or(run.machine.logical_cores)) " cores, "
                (units::bytes(run.machine.memory_bytes)) " of memory, " (run.machine.os)
                "; " (run.started.strftime("%Y-%m-%d %H:%M UTC"))
                "; " (units::repetitions(&run.settings))
                @if let Some(description) = &run.description { ". " (description) }
                @if !run.machine.os.contains("macOS") { " Not measured on Apple silicon." }
            }
            dl.facts {
                @for (name, text) in &answer.standings {
                    div { dt { (name) } dd { (text) } }
                }
                @for (name, text) in &answer.facts {
                    div { dt { (name) } dd { (text) } }
                }
                @if warned > 0 {
                    div.warned {
                        dt { "Caveats" }
                        dd {
                            a href=(format!("#warnings-{at}")) {
                                (warned) @if warned == 1 { " warning" } @else { " warnings" }
                            }
                            " to read before believing a figure."
                        }
                    }
                }
            }
        }
    }
}
