//! Conversations: all kinds together, and their turns.

use maud::{Markup, html};

use super::proof::tables;
use crate::{Digest, chat};

/// The section of a result's conversations; nothing where it has none.
pub(super) fn section(digest: &Digest<'_>, at: usize) -> Markup {
    let of_chats = chat::tables(digest);
    html! {
        @if !of_chats.is_empty() {
            section #(format!("chat-{at}")) {
                h2 { "Conversations" }
                (tables(&of_chats, at))
            }
        }
    }
}
