//! Conversations: all kinds together, and their turns.

use maud::{Markup, html};

use crate::Digest;
use crate::chat;

/// The section of a result's conversations; nothing where it has none.
pub(super) fn section(digest: &Digest<'_>, at: usize) -> Markup {
    let (together, turns): (Vec<_>, Vec<_>) = (
        chat::together(digest).collect(),
        chat::turns(digest).collect(),
    );
    html! {
        @if !turns.is_empty() {
            section #(format!("chat-{at}")) {
                h2 { "Conversations" }
                @if !together.is_empty() { (table(chat::ABOUT_TOGETHER, &chat::TOGETHER, &together, at)) }
                (table(chat::ABOUT_TURNS, &chat::TURNS, &turns, at))
                p.hint { (chat::READ) }
            }
        }
    }
}

fn table<const N: usize>(
    heading: &str,
    columns: &[&str; N],
    rows: &[[String; N]],
    at: usize,
) -> Markup {
    html! {
        h3 { (heading) }
        div.scroll tabindex="0" role="region" aria-label=(format!("{heading}, result {}", at + 1)) {
            table {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { @for row in rows {
                    tr {
                        th scope="row" { (row[0]) }
                        @for cell in &row[1..] { td { (cell) } }
                    }
                } }
            }
        }
    }
}
