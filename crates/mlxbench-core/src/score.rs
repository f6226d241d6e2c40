//! Teacher forcing: the logits that a model gives at each position of a text that it didn't choose,
//! by the same steps and in the same form in which [`crate::generate`] is timed.

use crate::backend::{ContextShape, Model};
use crate::generate::{Mode, decode, fill, hand_over};
use crate::{Error, Result, TokenBatch, TokenId};

/// A text to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced<'a> {
    /// Tokens put into the cache before; `None` for an empty cache.
    pub context: Option<&'a TokenBatch>,
    /// The prompt and what follows it, at least one token a row.
    pub tokens: &'a TokenBatch,
    /// How many of `tokens` are the prompt, at least one; the rest follows one by one.
    pub prompt: usize,
    /// The most tokens that are appended at once.
    pub chunk: usize,
    /// When the host waits.
    pub mode: Mode,
}

impl Forced<'_> {
    /// Positions that the text needs in the cache.
    fn capacity(&self) -> usize {
        self.context.map_or(0, TokenBatch::len) + self.tokens.len()
    }

    /// Checks the text against the model before any work is done.
    fn check(&self, model: &impl Model) -> Result<()> {
        let config = model.config();
        let length = self.tokens.len();
        if self.prompt == 0 || self.prompt > length || self.chunk == 0 {
            return Err(Error::Invalid(format!(
                "scoring {length} tokens needs a prompt of 1 to {length} of them and a chunk of at \
                 least one"
            )));
        }
        let rows = self.tokens.batch();
        if self.context.is_some_and(|context| context.batch() != rows) {
            return Err(Error::Invalid(
                "context and tokens must have as many rows".into(),
            ));
        }
        let limit = config.max_position_embeddings;
        if self.capacity() > limit {
            return Err(Error::Invalid(format!(
                "{} tokens to score exceed the model's context of {limit}",
                self.capacity()
            )));
        }
        for tokens in self.context.into_iter().chain([self.tokens]) {
            tokens.check_vocab(config.vocab_size)?;
        }
        Ok(())
    }
}

/// Hands over the prompt of `text` in chunks, then steps by its other tokens as a generation steps
/// by its own, and passes on the logits, of shape `[batch, vocab_size]`, of the prompt's last
/// position and each one after it.
///
/// # Errors
/// [`Error::Invalid`] when the text doesn't fit the model or has no such prompt; else the model's
/// own, or that of `on_logits`.
pub fn score<M: Model>(
    model: &mut M,
    text: &Forced<'_>,
    mut on_logits: impl FnMut(Vec<f32>) -> Result<()>,
) -> Result<()> {
    text.check(model)?;
    model.reset(ContextShape {
        batch: text.tokens.batch(),
        capacity: text.capacity(),
        chunk: text.chunk.min(text.capacity()),
    })?;
    fill(model, text.context, text.chunk)?;
    let column =
        |position: usize| -> Vec<TokenId> { text.tokens.rows().map(|row| row[position]).collect() };
    let form = text.mode.form(model.reads());
    let first = hand_over(model, &text.tokens.columns(0..text.prompt), text.chunk)?;
    let first = match text.prompt < text.tokens.len() {
        true => model.force(first, &column(text.prompt))?,
        false => first,
    };
    let positions = text.tokens.len() - text.prompt + 1;
    let step = |model: &mut M, previous: &M::Output, index: usize| {
        let output = model.step(previous)?;
        match index + 1 < positions {
            true => model.force(output, &column(text.prompt + index)),
            false => Ok(output),
        }
    };
    let last = decode(model, first, positions, form, step, |model, output| {
        on_logits(model.logits(output)?)?;
        Ok(true)
    });
    last.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::mock::{MockModel, Script};

    fn scored(script: Script, text: &Forced<'_>) -> Result<Vec<Vec<f32>>> {
        let mut model = MockModel::new(script, VirtualClock::default());
        let mut all = Vec::new();
        score(&mut model, text, |logits| {
            all.push(logits);
            Ok(())
        })?;
        Ok(all)
    }

    fn positions(prompt: usize) -> Result<usize> {
        let tokens = TokenBatch::row(vec![2, 3, 4, 5]);
        Ok(scored(Script::default(), &text(&tokens, prompt))?.len())
    }

    fn text(tokens: &TokenBatch, prompt: usize) -> Forced<'_> {
        Forced {
            context: None,
            tokens,
            prompt,
            chunk: 2,
            mode: Mode::Pipelined,
        }
    }

    #[test]
    fn every_position_from_the_prompts_last_on_has_logits() {
        assert_eq!(positions(1).unwrap(), 4);
        assert_eq!(positions(3).unwrap(), 2);
        assert_eq!(positions(4).unwrap(), 1);
    }

    #[test]
    fn a_prompt_outside_the_text_is_refused() {
        for prompt in [0, 5] {
            let message = positions(prompt).unwrap_err().to_string();
            assert!(message.contains("a prompt of 1 to 4"), "{message}");
        }
    }

    #[test]
    fn steps_go_on_from_the_texts_tokens_in_either_form() {
        let tokens = TokenBatch::new(&[vec![2, 3, 4, 5], vec![9, 8, 7, 6]]).unwrap();
        // What the mock gives after a token depends on that token alone.
        let expected = |position: usize| {
            let last = tokens.columns(position..position + 1);
            scored(Script::default(), &text(&last, 1))
                .unwrap()
                .remove(0)
        };
        for asynchronous in [false, true] {
            let script = Script {
                asynchronous,
                ..Script::default()
            };
            let logits = scored(script, &text(&tokens, 2)).unwrap();
            assert!(
                logits == [1, 2, 3].map(expected),
                "asynchronous: {asynchronous}"
            );
        }
    }

    #[test]
    fn a_context_counts_for_the_models_limit_and_needs_as_many_rows() {
        let (short, long) = (TokenBatch::row(vec![2]), TokenBatch::row(vec![2; 32_768]));
        let with = |context| Forced {
            context: Some(context),
            ..text(&short, 1)
        };
        let message = scored(Script::default(), &with(&long)).unwrap_err();
        assert!(
            message.to_string().contains("32769 tokens to score"),
            "{message}"
        );
        let two = TokenBatch::new(&[vec![2], vec![3]]).unwrap();
        assert!(scored(Script::default(), &with(&two)).is_err());
        assert!(scored(Script::default(), &with(&short)).is_ok());
    }
}
