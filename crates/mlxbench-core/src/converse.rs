//! A conversation: prompts that grow, each the one before it with a reply and a question more. One KV cache is
//! kept over the turns and rewound to what a prompt shares with the one before it; the loop of a turn is
//! [`crate::generate`]'s.
//!
//! The replies are the conversation's own: what the model generates in a turn is timed and taken back, so that the
//! work of the next turn is the same for every framework.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{ContextShape, Model};
use crate::clock::Clock;
use crate::generate::{Mode, decode, hand_over};
use crate::protocol::Conversed;
use crate::{Error, Nanos, Result, TokenBatch, TokenId};

/// A conversation to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation<'a> {
    /// The prompt of each turn, the whole history in it: at least one, of at least one token.
    pub prompts: &'a [Vec<TokenId>],
    /// Tokens to generate a turn, at least one.
    pub new_tokens: usize,
    /// The most tokens that are appended at once.
    pub chunk: usize,
    /// When the host waits.
    pub mode: Mode,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// Tokens of its prompt, history and all.
    pub prompt_tokens: usize,
    /// Those of them that the prompt before it hasn't.
    pub new_tokens: usize,
    /// Those of them that were read: the new ones, or all where the cache couldn't be rewound.
    pub read_tokens: usize,
    /// When each generated token was readable on the host, from submitting the prompt.
    pub token_ns: Vec<Nanos>,
    /// The tokens that were generated, before they were taken back.
    pub tokens: Vec<TokenId>,
    /// Peak of the framework's device memory since the conversation began, where it keeps count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_peak_bytes: Option<u64>,
}

impl Conversation<'_> {
    /// Positions that the conversation needs in the cache.
    fn capacity(&self) -> usize {
        let longest = self.prompts.iter().map(Vec::len).max().unwrap_or(0);
        longest.saturating_add(self.new_tokens).saturating_sub(1)
    }

    fn shape(&self) -> ContextShape {
        ContextShape {
            batch: 1,
            capacity: self.capacity(),
            chunk: self.chunk.min(self.capacity()),
        }
    }

    /// Checks the conversation against the model before any work is done.
    fn check(&self, model: &impl Model) -> Result<()> {
        if self.prompts.is_empty() || self.prompts.iter().any(Vec::is_empty) {
            return Err(Error::Invalid(
                "a conversation needs a turn at least, each with a prompt of at least one token"
                    .into(),
            ));
        }
        if self.new_tokens == 0 || self.chunk == 0 {
            return Err(Error::Invalid(
                "a conversation needs a chunk and a count of at least one token a turn".into(),
            ));
        }
        let config = model.config();
        if self.capacity() > config.max_position_embeddings {
            return Err(Error::Invalid(format!(
                "a conversation of {} tokens exceeds the model's context of {}",
                self.capacity(),
                config.max_position_embeddings
            )));
        }
        let mut prompts = self.prompts.iter();
        prompts
            .try_for_each(|prompt| TokenBatch::row(prompt.clone()).check_vocab(config.vocab_size))
    }
}

/// Tokens that a prompt shares with the one before it, less one where it would have no token of its own: a pass
/// needs one.
pub fn shared_tokens(before: &[TokenId], prompt: &[TokenId]) -> usize {
    let same = before.iter().zip(prompt).take_while(|(a, b)| a == b);
    same.count().min(prompt.len().saturating_sub(1))
}

/// Has `conversation` with `model`, then reads its last prompt into an empty cache for comparison. The clock of a turn
/// starts when its prompt is handed over: the rewinding of the cache is in its time, and where a layer with a window
/// has dropped what the turn sees, so is the emptying of the cache. `on_start` sees the output of each prompt's last
/// position before its token is read; pass a no-op when timing.
///
/// # Errors
/// [`Error::Invalid`] for a conversation that doesn't fit the model, before any work; else the model's own. A model
/// that knows no rewinding reads each prompt anew.
pub fn converse<M: Model>(
    model: &mut M,
    clock: &impl Clock,
    conversation: &Conversation<'_>,
    mut on_start: impl FnMut(&mut M, &M::Output) -> Result<()>,
) -> Result<Conversed> {
    conversation.check(model)?;
    let form = conversation.mode.form(model.reads());
    model.reset(conversation.shape())?;
    model.synchronize()?;
    let mut turns = Vec::with_capacity(conversation.prompts.len());
    let mut finite = true;
    let mut before: &[TokenId] = &[];
    for prompt in conversation.prompts {
        let shared = shared_tokens(before, prompt);
        let start = clock.now();
        let kept = match turns.is_empty() {
            true => 0,
            false => keep(model, conversation, shared)?,
        };
        let unread = TokenBatch::row(prompt[kept..].to_vec());
        let first = hand_over(model, &unread, conversation.chunk)?;
        let mut turn = Turn {
            prompt_tokens: prompt.len(),
            new_tokens: prompt.len() - shared,
            read_tokens: prompt.len() - kept,
            token_ns: Vec::with_capacity(conversation.new_tokens),
            tokens: Vec::with_capacity(conversation.new_tokens),
            device_peak_bytes: None,
        };
        let arrive = |model: &mut M, output: &M::Output| {
            if turn.tokens.is_empty() {
                on_start(model, output)?;
            }
            let read = model.read(output)?;
            turn.token_ns.push(clock.now().since(start));
            turn.tokens.extend(read.first());
            Ok(true)
        };
        let step = |model: &mut M, previous: &M::Output, _| model.step(previous);
        let last = decode(model, first, conversation.new_tokens, form, step, arrive)?;
        finite &= model.logits(&last)?.iter().all(|logit| logit.is_finite());
        turn.device_peak_bytes = model.device_peak_bytes();
        turns.push(turn);
        before = prompt;
    }
    let device_peak_bytes = model.device_peak_bytes();
    let cold_ttft_ns = cold(model, clock, conversation, before)?;
    Ok(Conversed {
        turns,
        cold_ttft_ns,
        finite,
        form,
        device_peak_bytes,
    })
}

/// Takes back all but the first `shared` tokens, or all where that can't be. Returns how many stay.
fn keep(model: &mut impl Model, conversation: &Conversation<'_>, shared: usize) -> Result<usize> {
    match model.rewind(shared) {
        Ok(()) => Ok(shared),
        Err(Error::Invalid(_) | Error::Unsupported(_)) => {
            model.reset(conversation.shape())?;
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// Time to first token of `prompt` in an empty cache.
fn cold(
    model: &mut impl Model,
    clock: &impl Clock,
    conversation: &Conversation<'_>,
    prompt: &[TokenId],
) -> Result<Nanos> {
    model.reset(conversation.shape())?;
    model.synchronize()?;
    let start = clock.now();
    let first = hand_over(model, &TokenBatch::row(prompt.to_vec()), conversation.chunk)?;
    model.read(&first)?;
    Ok(clock.now().since(start))
}

#[cfg(test)]
mod tests;
