//! Models that go back in the text and on from there, against models that never went further.

use mlxbench_core::backend::{Backend, ContextShape, Model};
use mlxbench_core::{Error, Placement, Result, TokenBatch, TokenId};

use crate::Golden;
use crate::golden::{apart, rotated};

/// Tokens that follow a rewind.
const AFTER: usize = 7;

/// Tokens of a text that is longer than any room behind a window.
const LONG: usize = 400;

impl Golden {
    /// Rewinds a model on `backend` to the edges of its windows and goes on with other tokens, in two
    /// rows, after prefills in chunks and steps: the largest |logit difference| from a model that was
    /// never there. Also rewinds a long text by less than its last chunk.
    ///
    /// # Errors
    /// When the backend fails, or rewinds to where a window was dropped.
    pub fn compare_rewound<B: Backend>(
        &self,
        backend: &mut B,
        placement: &Placement,
    ) -> Result<f32> {
        let mut model = self.load(backend, placement)?;
        let window = self.window();
        let mut largest = 0.0_f32;
        for position in [window - 1, window, window + 1, 2 * window] {
            let ahead = self.text(0, position + window + 1);
            largest = largest.max(self.difference_at(&mut model, &ahead, position)?);
        }
        let long = self.text(0, LONG);
        largest = largest.max(self.difference_at(&mut model, &long, LONG - 3)?);
        let has_window = self
            .config
            .layers
            .iter()
            .any(|layer| layer.attention.window.is_some());
        match (model.rewind(1), has_window) {
            (Err(Error::Invalid(_)), true) | (Ok(()), false) => Ok(largest),
            (answer, _) => Err(Error::Framework(format!(
                "rewinding a long text to its beginning answers {answer:?}"
            ))),
        }
    }

    /// Appends `ahead` and two steps, rewinds to `position` and goes on.
    fn difference_at(
        &self,
        model: &mut impl Model,
        ahead: &TokenBatch,
        position: usize,
    ) -> Result<f32> {
        let shape = ContextShape {
            batch: ahead.batch(),
            capacity: ahead.len() + 2 + AFTER,
            chunk: AFTER,
        };
        let other = self.text(5, AFTER);
        model.reset(shape)?;
        for chunk in ahead.columns(0..position).chunks(AFTER) {
            model.prefill(&chunk)?;
        }
        let fresh = follow(model, &other)?;

        model.reset(shape)?;
        for chunk in ahead.columns(0..ahead.len() - 1).chunks(AFTER) {
            model.prefill(&chunk)?;
        }
        let last = model.forward(&ahead.columns(ahead.len() - 1..ahead.len()))?;
        let step = model.step(&last)?;
        model.step(&step)?;
        model.rewind(position)?;
        let rewound = follow(model, &other)?;
        let differences = fresh.iter().zip(&rewound).map(|(a, b)| apart(*a, *b));
        Ok(differences.fold(0.0, f32::max))
    }

    /// Two rows of so many tokens, which repeat the golden's from `start` on.
    fn text(&self, start: usize, length: usize) -> TokenBatch {
        let row = |by: usize| -> Vec<TokenId> {
            rotated(&self.tokens, by)
                .into_iter()
                .cycle()
                .take(length)
                .collect()
        };
        TokenBatch::new(&[row(start), row(start + 3)]).expect("two rows of the same length")
    }
}

/// Logits of `tokens`: some at once, then one by one.
fn follow(model: &mut impl Model, tokens: &TokenBatch) -> Result<Vec<f32>> {
    let mut logits = Vec::new();
    let first = tokens.len() / 2;
    let rest = tokens.columns(first..tokens.len());
    for tokens in std::iter::once(tokens.columns(0..first)).chain(rest.chunks(1)) {
        let output = model.forward(&tokens)?;
        logits.extend(model.logits(&output)?);
    }
    Ok(logits)
}
