//! One page with everything: no request leaves it, and all but sorting and filtering works without
//! a script.
//!
//! | module | its subject |
//! |---|---|
//! | `answer` | the first screen |
//! | `figures` | charts |
//! | `table` | every row of every result, to sort and filter |
//! | `proof` | equivalence, limits, energy, warnings, the machine |
//! | `history` | the page of results over time |
//! | `raw` | what was measured, to download |

mod answer;
mod figures;
pub(crate) mod history;
mod proof;
mod raw;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::Digest;
use crate::breakdown::Breakdown;
use crate::draw::theme::{self, Palette};
use crate::external::External;
use crate::units::is_unprintable;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// What the page may do: nothing but show itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'";

/// The page of `digests`.
pub(crate) fn render(
    digests: &[Digest<'_>],
    others: &[External],
    breakdowns: &[Breakdown],
) -> String {
    let targets = digests.iter().flat_map(|digest| &digest.result.run.targets);
    let backends = targets.map(|target| target.backend.as_str());
    let palette = Palette::new(backends.chain(breakdowns.iter().map(Breakdown::backend)));
    let beside = !others.is_empty() || !breakdowns.is_empty();
    let body = html! {
        header {
            p.brand { "mlxbench" }
            (answer::header(digests, beside))
        }
        main {
            @for (at, digest) in digests.iter().enumerate() {
                (answer::section(digest, at, digests.len()))
            }
            @if digests.len() > 1 { (proof::comparable(digests)) }
            (table::section(digests, others))
            @for (at, digest) in digests.iter().enumerate() {
                @let name = answer::name(digest, digests.len());
                (figures::section(digest, &palette, at, &name))
                (proof::section(digest, at, &name))
            }
            (figures::breakdowns(breakdowns, &palette))
            (method())
            (raw::section(digests))
        }
        footer {
            p { "Written by mlxbench " (env!("CARGO_PKG_VERSION")) ". This page needs no network and sends nothing." }
        }
    };
    page(&answer::title(digests, beside), body)
}

/// A whole document.
pub(crate) fn page(title: &str, body: Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                link rel="icon" href="data:,";
                title { (title) }
                style {
                    (PreEscaped(STYLE))
                    "@media screen and (prefers-color-scheme: dark){" (PreEscaped(theme::css())) "}"
                }
            }
            body {
                (body)
                script { (PreEscaped(SCRIPT)) }
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
            h2 { "How this was measured" }
            ul {
                li { "Every target runs in processes of its own, one after the other in turns, in an order that is drawn anew each round, so that a drift of the machine falls on all alike. Repetitions before the pace is steady don't count." }
                li { "All get the same token ids and generate the same number of tokens, greedily. Where the config names a reference, their logits are compared with its logits over the same text before any figure counts." }
                li { "Decode rate: (n - 1) / (t" sub { "n" } " - t" sub { "1" } "), the first token never counted. Prefill rate: tokens of the prompt / time to the first token." }
                li { "Figures are medians over a target's processes of the medians of their repetitions. ± and whiskers are 95 % intervals: Student's on the logarithms of two to four processes, the expanded percentile bootstrap of more; of a single process' repetitions where there is no other, and then its luck isn't in them. Tokens within a repetition are never pooled for them." }
                li { "A ring in a chart of rates or latencies along a length marks a jump: the time there is a quarter longer or a fifth shorter than a smooth curve through the other lengths, by Pettitt's test at a significance of 1 %." }
                li { "MBU and MFU are shares of the memory bandwidth and of the matrix-product rate that were measured on the same device in the same run; bytes and operations are counted from the model's shapes." }
                li { "Peak memory is that of the whole process by the operating system's account, or the framework's own on the device where that is more. The floor is weights, keys and values." }
                li { "Energy is what the meter counted beyond the machine's idle power." }
            }
            p { "METHODOLOGY.md in mlxbench's repository defines every figure, with its sources." }
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
