//! Conversations: how many turns of which sizes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Label, Metric};
use crate::generate::Mode;
use crate::limits::{TOKENS, at_most};

/// A conversation: a system prompt and questions with replies, of which one KV cache is kept. Of one that is read
/// from a file the name says which; of one that is made the sizes of its parts do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ChatTest {
    /// The file's name, without folder and extension; absent where the conversation is made of random ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Label>,
    /// Questions, each of which the model answers.
    pub turns: usize,
    /// Tokens before the first question, of one that is made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub system_tokens: usize,
    /// Tokens of a question, of one that is made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub user_tokens: usize,
    /// Tokens of a reply that stands in the conversation, of one that is made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reply_tokens: usize,
    /// Tokens of the last turn's prompt, the history with them.
    pub prompt_tokens: usize,
    /// Tokens generated a turn, which are taken back before the next one.
    pub generate_tokens: usize,
    /// When the host waits for a token.
    pub mode: Mode,
}

impl ChatTest {
    /// A conversation of which nothing is known yet.
    pub const UNKNOWN: Self = Self {
        conversation: None,
        turns: 0,
        system_tokens: 0,
        user_tokens: 0,
        reply_tokens: 0,
        prompt_tokens: 0,
        generate_tokens: 0,
        mode: Mode::Pipelined,
    };

    /// The sum of its parts: tokens of the last prompt of a conversation that is made.
    pub fn made_prompt_tokens(&self) -> usize {
        let turn = self.user_tokens.saturating_add(self.reply_tokens);
        let before = self.turns.saturating_sub(1).saturating_mul(turn);
        let last = self.system_tokens.saturating_add(self.user_tokens);
        before.saturating_add(last)
    }

    pub(super) fn yields(&self, metric: Metric) -> bool {
        match metric {
            Metric::Ttft
            | Metric::ColdTtft
            | Metric::Overall
            | Metric::EndToEnd
            | Metric::Load
            | Metric::PeakMemory
            | Metric::DevicePeak
            | Metric::Power => true,
            Metric::WarmTtft => self.turns > 1,
            Metric::Decode | Metric::Tpot | Metric::InterToken => self.generate_tokens > 1,
            // The last prompt's second reading is in the energy and isn't part of the conversation.
            Metric::Prefill
            | Metric::EnergyPerToken
            | Metric::Training
            | Metric::TrainingStep
            | Metric::Throughput
            | Metric::Goodput => false,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        at_most("turns", self.turns, TOKENS)?;
        at_most("system_tokens", self.system_tokens, TOKENS)?;
        at_most("user_tokens", self.user_tokens, TOKENS)?;
        at_most("reply_tokens", self.reply_tokens, TOKENS)
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// `chat code x4 pp904+tg32`, or `chat s512+4x(u64+r128)+tg32` where it is made.
impl fmt::Display for ChatTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            turns,
            system_tokens,
            user_tokens,
            reply_tokens,
            generate_tokens,
            ..
        } = self;
        match &self.conversation {
            Some(name) => {
                let prompt = self.prompt_tokens;
                write!(f, "chat {name} x{turns} pp{prompt}+tg{generate_tokens}")
            }
            None => write!(
                f,
                "chat s{system_tokens}+{turns}x(u{user_tokens}+r{reply_tokens})+tg{generate_tokens}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Test;

    const MADE: ChatTest = ChatTest {
        conversation: None,
        turns: 3,
        system_tokens: 512,
        user_tokens: 64,
        reply_tokens: 100,
        prompt_tokens: 904,
        generate_tokens: 32,
        mode: Mode::Pipelined,
    };

    #[test]
    fn the_last_prompt_holds_all_but_the_last_reply() {
        assert_eq!(MADE.made_prompt_tokens(), 512 + 3 * 64 + 2 * 100);
        assert_eq!(Test::from(MADE).row_tokens(), 904 + 32);
    }

    #[test]
    fn names_say_the_file_or_the_sizes() {
        let read = ChatTest {
            conversation: Some("code".parse().unwrap()),
            mode: Mode::Synchronous,
            ..MADE
        };
        let name = |test: ChatTest| Test::from(test).to_string();
        assert_eq!(name(MADE), "chat s512+3x(u64+r100)+tg32");
        assert_eq!(name(read), "chat code x3 pp904+tg32 sync");
        let json = serde_json::to_value(Test::from(read)).unwrap();
        assert_eq!(json["conversation"], "code");
        assert_eq!(serde_json::from_value::<Test>(json).unwrap(), read.into());
    }

    #[test]
    fn a_single_turn_is_never_warm() {
        let single = ChatTest { turns: 1, ..MADE };
        assert!(Test::from(MADE).yields(Metric::WarmTtft));
        assert!(!Test::from(single).yields(Metric::WarmTtft));
        assert!(!Test::from(MADE).yields(Metric::Prefill));
    }
}
