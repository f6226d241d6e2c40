//! One page with everything: no request leaves it, and all but sorting and filtering works without
//! a script.
//!
//! | module | its subject |
//! |---|---|
//! | `answer` | the first screen |
//! | `chat` | conversations |
//! | `figures` | charts |
//! | `table` | every row of every result, to sort and filter |
//! | `proof` | caveats, equivalence, limits, energy |
//! | `machine` | machine, settings and versions, and how to measure it again |
//! | `terms` | what terms mean |
//! | `history` | the page of results over time |
//! | `raw` | what was measured, to download |

mod answer;
mod chat;
mod figures;
pub(crate) mod history;
mod machine;
mod proof;
mod raw;
mod table;
mod terms;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use mlxbench_core::trial::Matrix;

use crate::breakdown::Breakdown;
use crate::draw::theme::{self, Palette};
use crate::units::is_unprintable;
use crate::warnings::warnings;
use crate::{Beside, Digest, across, charts, trials};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The page of `digests`.
pub(crate) fn render(
    digests: &[Digest<'_>],
    Beside {
        others,
        breakdowns,
        matrices,
        ..
    }: &Beside,
) -> String {
    if let ([], [], []) = (digests, others.as_slice(), breakdowns.as_slice())
        && !matrices.is_empty()
    {
        return trials::page(matrices);
    }
    let targets = digests.iter().flat_map(|digest| &digest.result.run.targets);
    let backends = targets.map(|target| target.backend.as_str());
    let palette = Palette::new(backends.chain(breakdowns.iter().map(Breakdown::backend)));
    let beside = !others.is_empty() || !breakdowns.is_empty();
    let labels = across::labels(digests);
    let body = html! {
        header.top {
            p.brand { "mlxbench" }
            (answer::contents(&contents(digests, breakdowns, matrices)))
        }
        main {
            (answer::section(digests, beside, &palette))
            @match digests {
                [] => {},
                [only] => {
                    (speed(only, &palette))
                    (chat::section(only, 0))
                    (proof::caveats(only, 0))
                    (proof::correctness(only, 0))
                },
                several => (proof::comparable(several, &labels)),
            }
            (table::section(digests, &labels, others))
            @match digests {
                [] => {},
                [only] => {
                    (diagnostics(only, 0, &palette))
                    (machine::section(only, 0))
                },
                several => {
                    @for (at, (digest, label)) in several.iter().zip(&labels).enumerate() {
                        (alone(digest, at, label, &palette))
                    }
                },
            }
            (figures::breakdowns(breakdowns, &palette))
            @if !matrices.is_empty() { (trials::section(matrices)) }
            (method())
            (raw::section(digests))
        }
        footer {
            p { "Written by mlxbench " (env!("CARGO_PKG_VERSION")) ". This page needs no network and sends nothing." }
        }
    };
    let style = if matrices.is_empty() {
        ""
    } else {
        trials::STYLE
    };
    styled(&answer::title(digests, beside), style, body)
}

/// The parts of the page, as links.
fn contents(
    digests: &[Digest<'_>],
    breakdowns: &[Breakdown],
    matrices: &[Matrix],
) -> Vec<(String, &'static str)> {
    let mut parts: Vec<(&str, &str)> = vec![("answer", "Answer")];
    match digests {
        [] => {}
        [only] => {
            parts.push(("speed-0", "Prompt and memory"));
            if !warnings(only).is_empty() {
                parts.push(("warnings-0", "Caveats"));
            }
            parts.push(("work-0", "Correctness"));
        }
        _ => parts.push(("comparable", "Comparable?")),
    }
    parts.push(("rows", "All figures"));
    match digests {
        [] => {}
        [_] => parts.extend([("diagnostics-0", "Diagnostics"), ("machine-0", "Machine")]),
        _ => parts.push(("result-0", "Each result")),
    }
    if !breakdowns.is_empty() {
        parts.push(("breakdown", "Where the time goes"));
    }
    if !matrices.is_empty() {
        parts.push(("operations", "Operations"));
    }
    parts.extend([("method", "Method and terms"), ("raw", "Raw data")]);
    parts
        .into_iter()
        .map(|(id, name)| (id.to_owned(), name))
        .collect()
}

/// Prompt, first token and memory.
fn speed(digest: &Digest<'_>, palette: &Palette) -> Markup {
    let made = charts::of_answer(digest, palette);
    // The first is on the first screen.
    let rest = made.get(1..).unwrap_or_default();
    html! {
        section #speed-0 {
            h2 { "Prompt, first token and memory" }
            @if rest.is_empty() { p { "There is no figure of either." } }
            (figures::grid(rest, 0))
        }
    }
}

/// What explains the figures, folded.
fn diagnostics(digest: &Digest<'_>, at: usize, palette: &Palette) -> Markup {
    html! {
        section {
            details id=(format!("diagnostics-{at}")) {
                summary { h2 { "Diagnostics" } }
                p.hint { "Limits of the machine, lengths, latencies, memory over time, every test." }
                (figures::grid(&charts::of_details(digest, palette), at))
                (proof::conditions(digest, at))
            }
        }
    }
}

/// One result of several, folded.
fn alone(digest: &Digest<'_>, at: usize, label: &str, palette: &Palette) -> Markup {
    html! {
        section {
            details id=(format!("result-{at}")) {
                summary { h2 { (digest.result.run.name) ": " (label) } }
                p.headline { (crate::answer::answer(digest).headline) "." }
                (figures::grid(&charts::of_result(digest, palette), at))
                (chat::section(digest, at))
                (proof::caveats(digest, at))
                (proof::correctness(digest, at))
                (proof::conditions(digest, at))
                (machine::section(digest, at))
            }
        }
    }
}

/// A page of results.
pub(crate) fn page(title: &str, body: Markup) -> String {
    styled(title, "", body)
}

/// A page of results with a style of its own.
fn styled(title: &str, style: &str, body: Markup) -> String {
    let dark = theme::css();
    let style = format!("{STYLE}@media screen and (prefers-color-scheme: dark){{{dark}}}{style}");
    document(title, &style, Some(SCRIPT), body)
}

/// A whole document, which may do nothing but show itself.
pub(crate) fn document(title: &str, style: &str, script: Option<&str>, body: Markup) -> String {
    let scripts = script.map_or("", |_| " script-src 'unsafe-inline';");
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline';{scripts} img-src data:; base-uri 'none'; form-action 'none'"
    );
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy);
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                (body)
                @if let Some(script) = script { script { (PreEscaped(script)) } }
            }
        }
    };
    // What others wrote is escaped already; this is what escaping leaves.
    let unprintable = |character: char| character != '\n' && is_unprintable(character);
    document.into_string().replace(unprintable, "\u{fffd}")
}

/// METHODOLOGY.md in short.
fn method() -> Markup {
    html! {
        section #method {
            h2 { "Method" }
            ul {
                li { "Each target runs in its own processes. Repetitions are interleaved in an order drawn anew each round, so that drift of the machine falls on all alike; warm-up doesn't count." }
                li { "All get the same token ids and generate the same number of tokens, greedily. Where the config names a reference, logits are compared with its logits over the same text before anything is timed." }
                li { "Figures are medians over a target's processes of the medians of their repetitions. ± and whiskers are 95 % intervals: Student's on the logarithms of two to four processes, the expanded percentile bootstrap of more, or of one process' repetitions. Tokens of a repetition are never pooled." }
                li { "A ring marks a jump along a length: the time there is a quarter longer or a fifth shorter than a smooth curve through the other lengths (Pettitt's test, significance 1 %)." }
            }
            p { "METHODOLOGY.md in mlxbench's repository defines every figure, with its sources." }
            h3 { "Terms" }
            (terms::glossary())
        }
    }
}

/// `text` as one word of an id.
fn id(text: &str, at: usize) -> String {
    let word: String = text
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    format!("{word}-{at}")
}
