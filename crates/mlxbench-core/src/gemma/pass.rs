//! The plan of a pass: what is appended where, what is read, which of it each token sees. Made once,
//! for all adapters, from what layers need and what the KV cache was made for.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::ContextShape;
use crate::gemma::cache::{Append, CacheCursor};
use crate::gemma::{AttentionSpec, KeysValues, LayerSpec};
use crate::{Error, Result};

/// What a pass means for the layers of one attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Where the new entries of the KV cache go, and which are read.
    pub append: Append,
    /// Positions of the new tokens in the text.
    pub positions: Range<usize>,
    /// Which of the entries read each of them sees.
    pub mask: Mask,
}

/// Which of the entries read a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All of them: the token is alone.
    None,
    /// Those that aren't later than itself.
    Causal,
    /// Of those, as many as this window has.
    Windowed(usize),
}

impl Pass {
    /// Length of the mask's two axes: new tokens, entries read.
    pub fn mask_shape(&self) -> (usize, usize) {
        (self.positions.len(), self.append.read.len())
    }

    /// Positions in the text of the entries read.
    pub fn read_positions(&self) -> Range<usize> {
        let first = self.append.read_position;
        first..first + self.append.read.len()
    }
}

/// The passes over one context: the bookkeeping of the KV caches of all layers.
#[derive(Debug, Clone)]
pub struct Passes {
    shape: ContextShape,
    /// Every attention that layers with caches have, once, with the cursor that its layers share.
    attentions: Vec<(AttentionSpec, CacheCursor)>,
    /// Which of them a layer has.
    of_layers: Arc<[usize]>,
}

impl Passes {
    /// The passes of a model over an empty context.
    pub fn new(layers: &[LayerSpec], shape: ContextShape) -> Self {
        let mut attentions: Vec<(AttentionSpec, CacheCursor)> = Vec::new();
        let mut of_layers = Vec::with_capacity(layers.len());
        for LayerSpec { attention, .. } in layers {
            // Who reads another's cache sees what that one does.
            if let KeysValues::Of(layer) = attention.keys_values {
                of_layers.push(of_layers[layer]);
                continue;
            }
            let known = attentions.iter().position(|(known, _)| known == attention);
            of_layers.push(known.unwrap_or_else(|| {
                let cursor = CacheCursor::new(shape.capacity, shape.chunk, attention.window);
                attentions.push((attention.clone(), cursor));
                attentions.len() - 1
            }));
        }
        Self {
            shape,
            attentions,
            of_layers: of_layers.into(),
        }
    }

    /// What the context was made for.
    pub fn shape(&self) -> ContextShape {
        self.shape
    }

    /// The attentions that layers have, each once.
    pub fn attentions(&self) -> impl Iterator<Item = &AttentionSpec> {
        self.attentions.iter().map(|(attention, _)| attention)
    }

    /// Which of [`Passes::attentions`] each layer has.
    pub fn of_layers(&self) -> &Arc<[usize]> {
        &self.of_layers
    }

    /// Entries that the layer's KV cache must have room for, a row.
    pub fn cache_capacity(&self, layer: usize) -> usize {
        self.attentions[self.of_layers[layer]].1.capacity()
    }

    /// Moves on by `tokens` in each of `batch` rows, and says what that means for each of
    /// [`Passes::attentions`].
    ///
    /// # Errors
    /// [`Error::Invalid`], and nothing changes, when the context wasn't made for so many.
    pub fn advance(&mut self, batch: usize, tokens: usize) -> Result<Vec<Pass>> {
        if batch != self.shape.batch {
            return Err(no_room(&format!("{} rows, not {batch},", self.shape.batch)));
        }
        let mut next = self.attentions.clone();
        let passes = next.iter_mut().map(|(attention, cursor)| {
            let start = cursor.position();
            let append = cursor
                .append(tokens)
                .ok_or_else(|| no_room("fewer tokens"))?;
            let mask = match attention.window {
                _ if tokens == 1 => Mask::None,
                Some(window) if append.read.len() > window => Mask::Windowed(window),
                _ => Mask::Causal,
            };
            Ok(Pass {
                append,
                positions: start..start + tokens,
                mask,
            })
        });
        let passes = passes.collect::<Result<_>>()?;
        self.attentions = next;
        Ok(passes)
    }

    /// Forgets all tokens from `position` on, so that the next one has this position.
    ///
    /// # Errors
    /// [`Error::Invalid`], and nothing changes, when `position` lies ahead, or when a local layer's
    /// cache doesn't hold all any more that the token there sees: see [`CacheCursor::rewind`].
    pub fn rewind(&mut self, position: usize) -> Result<()> {
        let mut rewound = self.attentions.clone();
        for (attention, cursor) in &mut rewound {
            let now = cursor.position();
            if position > now {
                return Err(Error::Invalid(format!(
                    "the KV cache holds {now} tokens and can't be rewound to {position}"
                )));
            }
            if !cursor.rewind(position) {
                return Err(Error::Invalid(format!(
                    "the KV cache can't be rewound from {now} tokens to {position}: layers with a \
                     window of {} hold only what came since position {}; reset the model and prefill \
                     again",
                    attention.window.unwrap_or(position),
                    cursor.first()
                )));
            }
        }
        self.attentions = rewound;
        Ok(())
    }
}

/// What a pass is answered with that the KV cache wasn't made for.
pub(crate) fn no_room(made_for: &str) -> Error {
    Error::Invalid(format!(
        "the KV cache was made for {made_for}: reset the model first"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemma::{FlatConfig, GemmaConfig, LayerKind, preset};

    /// Two layers: local with a window of 4, and global.
    fn passes(capacity: usize) -> Passes {
        let config = GemmaConfig::from(FlatConfig {
            layers: vec![LayerKind::Local, LayerKind::Global, LayerKind::Local],
            sliding_window: Some(4),
            ..preset("gemma-3-270m").unwrap().config().flat().unwrap()
        });
        let shape = ContextShape {
            batch: 2,
            capacity,
            chunk: 6,
        };
        Passes::new(&config.layers, shape)
    }

    #[test]
    fn layers_of_one_attention_share_a_plan() {
        let passes = passes(1000);
        let windows: Vec<_> = passes
            .attentions()
            .map(|attention| attention.window)
            .collect();
        assert_eq!(windows, [Some(4), None]);
        assert_eq!(passes.of_layers()[..], [0, 1, 0]);
        assert_eq!(
            [0, 1].map(|layer| passes.cache_capacity(layer)),
            [4 + 256, 1000]
        );
    }

    #[test]
    fn masks_are_no_stricter_than_they_have_to_be() {
        let mut passes = passes(100);
        let mut masks = |tokens| -> Vec<Mask> {
            let pass = passes.advance(2, tokens).unwrap();
            pass.iter().map(|pass| pass.mask).collect()
        };
        assert_eq!(masks(4), [Mask::Causal, Mask::Causal]);
        assert_eq!(masks(1), [Mask::None, Mask::None]);
        // Two queries read their window and one more.
        assert_eq!(masks(2), [Mask::Windowed(4), Mask::Causal]);
    }

    #[test]
    fn a_pass_has_its_positions_and_those_of_what_it_reads() {
        let mut passes = passes(100);
        passes.advance(2, 5).unwrap();
        let [local, global] = &passes.advance(2, 2).unwrap()[..] else {
            panic!("two attentions")
        };
        assert_eq!(
            (local.positions.clone(), local.mask_shape()),
            (5..7, (2, 5))
        );
        assert_eq!(local.read_positions(), 2..7);
        assert_eq!(global.read_positions(), 0..7);
    }

    #[test]
    fn what_the_cache_was_not_made_for_is_refused_and_changes_nothing() {
        let mut passes = passes(6);
        let message = passes.advance(3, 1).unwrap_err().to_string();
        assert!(message.contains("2 rows, not 3"), "{message}");
        passes.advance(2, 5).unwrap();
        let message = passes.advance(2, 2).unwrap_err().to_string();
        assert!(message.contains("fewer tokens"), "{message}");
        assert_eq!(passes.advance(2, 1).unwrap()[1].positions, 5..6);
    }

    #[test]
    fn a_rewound_context_goes_on_from_there() {
        let mut passes = passes(100);
        passes.advance(2, 9).unwrap();
        passes.rewind(5).unwrap();
        let again = passes.advance(2, 3).unwrap();
        assert_eq!(again[0].positions, 5..8);
        assert_eq!(again[0].append.read_position, 2);
        let message = passes.rewind(9).unwrap_err().to_string();
        assert!(message.contains("holds 8 tokens"), "{message}");
    }

    #[test]
    fn a_window_that_was_dropped_is_not_rewound_to() {
        let mut passes = passes(1000);
        for _ in 0..50 {
            passes.advance(2, 6).unwrap();
        }
        let message = passes.rewind(10).unwrap_err().to_string();
        assert!(message.contains("from 300 tokens to 10"), "{message}");
        assert!(message.contains("a window of 4"), "{message}");
        // Nothing changed.
        assert_eq!(passes.advance(2, 1).unwrap()[0].positions, 300..301);
    }
}
