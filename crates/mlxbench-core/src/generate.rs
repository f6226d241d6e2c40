//! The one generation loop. Prefill, greedy decode, pipelining and every timestamp are here, so
//! that no adapter can time its work differently.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{ContextShape, Model, Reads};
use crate::clock::Clock;
use crate::{Error, Nanos, Result, TokenBatch, TokenId};

/// The most tokens appended at once where nobody says: mlx-lm's (`--prefill-step-size`).
pub const DEFAULT_CHUNK: usize = 2048;

/// When the host waits for a token.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From the second token on, the next step is handed to the device before a token is read, as
    /// mlx-lm does, where reads allow it: see [`Mode::form`].
    #[default]
    Pipelined,
    /// Each token is read before the next step is handed over.
    Synchronous,
}

impl Mode {
    /// The name used in configs and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pipelined => "pipelined",
            Self::Synchronous => "synchronous",
        }
    }

    /// The form that a generation takes where this mode is asked for. Handing over a step ahead
    /// needs reads that wait for their own step; with others the times would be of something else
    /// than the token that was read, so each token is read before the next step.
    pub fn form(self, reads: Reads) -> Self {
        match reads {
            Reads::Own => self,
            Reads::Immediate | Reads::InOrder => Self::Synchronous,
        }
    }
}

/// One generation: what is in the cache before, what is handed over, how many tokens come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job<'a> {
    /// Tokens put into the cache before the clock starts; `None` for an empty cache.
    pub context: Option<&'a TokenBatch>,
    /// The prompt, at least one token a row.
    pub prompt: &'a TokenBatch,
    /// Tokens to generate a row, at least one.
    pub new_tokens: usize,
    /// The most tokens that are appended at once.
    pub chunk: usize,
    /// When the host waits.
    pub mode: Mode,
    /// Tokens that end the generation once every row has produced one; none when empty.
    pub stop: &'a [TokenId],
}

/// What a generation produced, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The new tokens of each row.
    pub tokens: Vec<Vec<TokenId>>,
    /// When each new token was readable on the host, counted from the handing over of the prompt.
    pub token_ns: Vec<Nanos>,
    /// Whether the last position's logits were all finite.
    pub finite: bool,
    /// Whether steps were handed over ahead of the reads, or each token was read first.
    pub form: Mode,
}

impl Job<'_> {
    /// Positions that the generation needs in the cache.
    pub fn capacity(&self) -> usize {
        let given = self.context.map_or(0, TokenBatch::len) + self.prompt.len();
        given.saturating_add(self.new_tokens) - 1
    }

    /// Checks the job against the model before any work is done.
    fn check(&self, model: &impl Model) -> Result<()> {
        let config = model.config();
        let limit = config.max_position_embeddings;
        if self.prompt.is_empty() || self.new_tokens == 0 || self.chunk == 0 {
            return Err(Error::Invalid(
                "a generation needs a prompt, a chunk and a count of at least one token".into(),
            ));
        }
        if self
            .context
            .is_some_and(|context| context.batch() != self.prompt.batch())
        {
            return Err(Error::Invalid(
                "context and prompt must have as many rows".into(),
            ));
        }
        if self.capacity() > limit {
            return Err(Error::Invalid(format!(
                "{} tokens of prompt and {} to generate exceed the model's context of {limit}",
                self.context.map_or(0, TokenBatch::len) + self.prompt.len(),
                self.new_tokens,
            )));
        }
        for tokens in self.context.into_iter().chain([self.prompt]) {
            tokens.check_vocab(config.vocab_size)?;
        }
        Ok(())
    }
}

/// Runs `job` on `model`. `on_output` sees every position's output before its token is read; the
/// time it takes is in the timestamps, so pass a no-op when timing.
///
/// # Errors
/// [`Error::Invalid`] for a job that doesn't fit the model, before any work; else the model's own.
pub fn generate<M: Model>(
    model: &mut M,
    clock: &impl Clock,
    job: &Job<'_>,
    mut on_output: impl FnMut(&mut M, &M::Output) -> Result<()>,
) -> Result<Generation> {
    job.check(model)?;
    let batch = job.prompt.batch();
    model.reset(ContextShape {
        batch,
        capacity: job.capacity(),
        chunk: job.chunk.min(job.capacity()),
    })?;
    fill(model, job.context, job.chunk)?;

    let mut tokens = vec![Vec::with_capacity(job.new_tokens); batch];
    let mut token_ns = Vec::with_capacity(job.new_tokens);
    let mut running = vec![true; batch];
    let form = job.mode.form(model.reads());

    let start = clock.now();
    let first = hand_over(model, job.prompt, job.chunk)?;
    let last = decode(
        model,
        first,
        job.new_tokens,
        form,
        |model, previous, _| model.step(previous),
        |model, output| {
            on_output(model, output)?;
            let read = model.read(output)?;
            token_ns.push(clock.now().since(start));
            for ((row, &token), running) in tokens.iter_mut().zip(&read).zip(&mut running) {
                row.push(token);
                *running &= !job.stop.contains(&token);
            }
            Ok(running.contains(&true))
        },
    )?;
    let finite = model.logits(&last)?.iter().all(|logit| logit.is_finite());
    Ok(Generation {
        tokens,
        token_ns,
        finite,
        form,
    })
}

/// Puts `context` into the empty cache, and waits until the device is idle.
pub(crate) fn fill(
    model: &mut impl Model,
    context: Option<&TokenBatch>,
    chunk: usize,
) -> Result<()> {
    for chunk in context
        .into_iter()
        .flat_map(|context| context.chunks(chunk))
    {
        model.prefill(&chunk)?;
    }
    model.synchronize()
}

/// Hands over a prompt of at least one token, in chunks.
pub(crate) fn hand_over<M: Model>(
    model: &mut M,
    prompt: &TokenBatch,
    chunk: usize,
) -> Result<M::Output> {
    let before_last = (prompt.len() - 1) / chunk * chunk;
    for chunk in prompt.columns(0..before_last).chunks(chunk) {
        model.prefill(&chunk)?;
    }
    model.forward(&prompt.columns(before_last..prompt.len()))
}

/// The steps of `count` positions in all, of which `first` is the first. `step` hands over the one
/// after an output, with its index; `arrive` brings an output to the host and says whether to go on.
/// Returns the last output that arrived.
///
/// The first output arrives before any step is handed over: no step has a part in its time. Then,
/// in the pipelined form, the step after an output is handed over before that output arrives.
pub(crate) fn decode<M: Model>(
    model: &mut M,
    first: M::Output,
    count: usize,
    form: Mode,
    mut step: impl FnMut(&mut M, &M::Output, usize) -> Result<M::Output>,
    mut arrive: impl FnMut(&mut M, &M::Output) -> Result<bool>,
) -> Result<M::Output> {
    let mut output = first;
    for index in 1..count {
        let ahead = match form {
            Mode::Pipelined if index > 1 => Some(step(model, &output, index)?),
            _ => None,
        };
        if !arrive(model, &output)? {
            return Ok(output);
        }
        output = match ahead {
            Some(output) => output,
            None => step(model, &output, index)?,
        };
    }
    arrive(model, &output)?;
    Ok(output)
}

#[cfg(test)]
mod tests;
