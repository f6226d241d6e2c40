//! Teacher forcing: the logits that a model gives at each position of a text that it didn't choose.

use crate::backend::{ContextShape, Model};
use crate::{Error, Result, TokenBatch};

/// Appends the first `prompt` positions of `tokens` in chunks, the rest one by one, and hands over
/// the logits, of shape `[batch, vocab_size]`, of position `prompt - 1` and each one after it.
///
/// # Errors
/// [`Error::Invalid`] when the text doesn't fit the model or has no such prompt; else the model's
/// own, or that of `on_logits`.
pub fn score<M: Model>(
    model: &mut M,
    tokens: &TokenBatch,
    prompt: usize,
    chunk: usize,
    mut on_logits: impl FnMut(Vec<f32>) -> Result<()>,
) -> Result<()> {
    if prompt == 0 || prompt > tokens.len() || chunk == 0 {
        return Err(Error::Invalid(format!(
            "scoring {} tokens needs a prompt of 1 to {} of them and a chunk of at least one",
            tokens.len(),
            tokens.len(),
        )));
    }
    let limit = model.config().max_position_embeddings;
    if tokens.len() > limit {
        return Err(Error::Invalid(format!(
            "{} tokens to score exceed the model's context of {limit}",
            tokens.len()
        )));
    }
    tokens.check_vocab(model.config().vocab_size)?;
    model.reset(ContextShape {
        batch: tokens.batch(),
        capacity: tokens.len(),
        chunk: chunk.min(tokens.len()),
    })?;
    let mut chunks: Vec<TokenBatch> = tokens.columns(0..prompt).chunks(chunk).collect();
    let last = chunks.split_off(chunks.len() - 1);
    for chunk in &chunks {
        model.prefill(chunk)?;
    }
    let rest = tokens.columns(prompt..tokens.len());
    for tokens in last.into_iter().chain(rest.chunks(1)) {
        let output = model.forward(&tokens)?;
        on_logits(model.logits(&output)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::mock::{MockModel, Script};

    fn positions(prompt: usize) -> Result<usize> {
        let mut model = MockModel::new(Script::default(), VirtualClock::default());
        let tokens = TokenBatch::row(vec![2, 3, 4, 5]);
        let mut count = 0;
        score(&mut model, &tokens, prompt, 2, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
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
}
