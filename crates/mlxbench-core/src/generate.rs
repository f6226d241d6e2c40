//! The one generation loop. Prefill, greedy decode, pipelining and every timestamp are here, so
//! that no adapter can time its work differently.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{ContextShape, Model};
use crate::clock::Clock;
use crate::{Error, Nanos, Result, TokenBatch, TokenId};

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
    /// The next step is handed to the device before the last token is read, as mlx-lm does; where
    /// the framework works while it is called ([`Model::is_asynchronous`]), as `Synchronous`.
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
    for chunk in job
        .context
        .iter()
        .flat_map(|context| context.chunks(job.chunk))
    {
        model.prefill(&chunk)?;
    }
    model.synchronize()?;

    let mut tokens = vec![Vec::with_capacity(job.new_tokens); batch];
    let mut token_ns = Vec::with_capacity(job.new_tokens);
    let mut running = vec![true; batch];
    let mut chunks: Vec<TokenBatch> = job.prompt.chunks(job.chunk).collect();
    let last_chunk = chunks
        .pop()
        .expect("the prompt was checked to hold a token");

    let pipelined = job.mode == Mode::Pipelined && model.is_asynchronous();
    let start = clock.now();
    for chunk in &chunks {
        model.prefill(chunk)?;
    }
    let mut output = model.forward(&last_chunk)?;
    loop {
        let more = token_ns.len() + 1 < job.new_tokens;
        let ahead = match pipelined && more {
            true => Some(model.step(&output)?),
            false => None,
        };
        on_output(model, &output)?;
        let read = model.read(&output)?;
        token_ns.push(clock.now().since(start));
        for ((row, &token), running) in tokens.iter_mut().zip(&read).zip(&mut running) {
            row.push(token);
            *running &= !job.stop.contains(&token);
        }
        if !more || !running.contains(&true) {
            break;
        }
        output = match ahead {
            Some(output) => output,
            None => model.step(&output)?,
        };
    }
    let finite = model.logits(&output)?.iter().all(|logit| logit.is_finite());
    Ok(Generation {
        tokens,
        token_ns,
        finite,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::mock::{MockModel, Script};

    fn script() -> Script {
        Script {
            prefill_ns_per_token: 10,
            step_ns: 100,
            read_ns: 7,
            ..Script::default()
        }
    }

    fn job(prompt: &TokenBatch) -> Job<'_> {
        Job {
            context: None,
            prompt,
            new_tokens: 3,
            chunk: 2,
            mode: Mode::Synchronous,
            stop: &[],
        }
    }

    fn run(script: Script, job: &Job<'_>) -> Result<Generation> {
        let clock = VirtualClock::default();
        let mut model = MockModel::new(script, clock.clone());
        generate(&mut model, &clock, job, |_, _| Ok(()))
    }

    #[test]
    fn the_clock_starts_with_the_prompt_and_stops_at_each_read() {
        let prompt = TokenBatch::row(vec![5; 5]);
        let generation = run(script(), &job(&prompt)).unwrap();
        let first = 5 * 10 + 7;
        let token_ns = [first, first + 107, first + 214].map(Nanos);
        assert_eq!(generation.token_ns, token_ns);
    }

    #[test]
    fn tokens_of_the_context_are_not_timed() {
        let (context, prompt) = (TokenBatch::row(vec![5; 100]), TokenBatch::row(vec![5]));
        let generation = run(
            script(),
            &Job {
                context: Some(&context),
                ..job(&prompt)
            },
        )
        .unwrap();
        assert_eq!(generation.token_ns[0], Nanos(17));
    }

    #[test]
    fn a_step_ahead_overlaps_the_read_back() {
        let prompt = TokenBatch::row(vec![5]);
        let pipelined = Job {
            mode: Mode::Pipelined,
            ..job(&prompt)
        };
        let asynchronous = Script {
            asynchronous: true,
            ..script()
        };
        let generation = run(asynchronous, &pipelined).unwrap();
        // A read waits for its own token only; the next step has begun by then.
        assert_eq!(generation.token_ns, [17, 117, 217].map(Nanos));
    }

    #[test]
    fn a_framework_that_works_while_it_is_called_has_no_step_in_its_first_token() {
        let prompt = TokenBatch::row(vec![5]);
        let pipelined = Job {
            mode: Mode::Pipelined,
            ..job(&prompt)
        };
        let generation = run(script(), &pipelined).unwrap();
        assert_eq!(generation.token_ns, [17, 124, 231].map(Nanos));
    }

    #[test]
    fn both_modes_generate_the_same_tokens() {
        let prompt = TokenBatch::row(vec![5, 9]);
        let synchronous = run(script(), &job(&prompt)).unwrap();
        let pipelined = run(
            script(),
            &Job {
                mode: Mode::Pipelined,
                ..job(&prompt)
            },
        )
        .unwrap();
        assert_eq!(synchronous.tokens, pipelined.tokens);
    }

    #[test]
    fn a_stop_token_ends_the_generation_once_every_row_has_it() {
        let prompt = TokenBatch::row(vec![5]);
        let all = run(script(), &job(&prompt)).unwrap().tokens[0].clone();
        let stopped = run(
            script(),
            &Job {
                stop: &all[1..2],
                ..job(&prompt)
            },
        )
        .unwrap();
        assert_eq!(stopped.tokens[0], all[..2]);
        assert_eq!(stopped.token_ns.len(), 2);
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused_before_any_work() {
        let prompt = TokenBatch::row(vec![5; 4]);
        for new_tokens in [1 << 20, usize::MAX] {
            let long = Job {
                new_tokens,
                ..job(&prompt)
            };
            let message = run(script(), &long).unwrap_err().to_string();
            assert!(message.contains("exceed the model's context"), "{message}");
        }

        let foreign = TokenBatch::row(vec![u32::MAX]);
        let message = run(script(), &job(&foreign)).unwrap_err().to_string();
        assert!(message.contains("vocabulary"), "{message}");
    }
}
