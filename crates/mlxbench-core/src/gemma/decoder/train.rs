//! All layers over a whole text, with adapters that gradients pass to, and no KV cache.

mod checkpointed;

use super::Decoder;
use crate::Result;
use crate::backend::ContextShape;
use crate::gemma::layer::OfText;
use crate::gemma::parts::{Rope, Span, Spans};
use crate::gemma::pass::Passes;
use crate::gemma::train::{Differentiable, Text, Trainable, ValueAndGradients};
use crate::gemma::{KeysValues, LayerSpec};

impl<F: Differentiable> Decoder<F> {
    /// What all layers share in a pass over `tokens` in each of `batch` rows, from the first position on.
    ///
    /// # Errors
    /// The framework's own.
    pub fn text(&self, batch: usize, tokens: usize) -> Result<Spans<F>> {
        let shape = ContextShape {
            batch,
            capacity: tokens,
            chunk: tokens,
        };
        let mut passes = Passes::new(&self.specs, shape);
        let plan = passes.advance(batch, tokens)?;
        let spans = passes.attentions().zip(plan).map(|(attention, pass)| {
            Ok(Span {
                mask: F::mask_of_text(&pass, attention, &self.place)?,
                rope: F::Rope::new(attention, tokens, &self.place)?,
                append: pass.append,
            })
        });
        Ok(Spans {
            of_attentions: spans.collect::<Result<_, _>>().map_err(F::error)?,
            of_layers: passes.of_layers().clone(),
        })
    }

    /// What `loss` makes of what all layers make of `text`, of the shape of [`Text::x`], and the gradients of that
    /// scalar, one for each of the matrices.
    ///
    /// # Errors
    /// The framework's own.
    pub fn loss_and_gradients(
        &self,
        text: &Text<'_, F>,
        trainable: &Trainable<'_, F::Tensor>,
        loss: impl Fn(&F::Tensor) -> Result<F::Tensor, F::Error>,
    ) -> Result<ValueAndGradients<F>, F::Error> {
        if trainable.lora.gradient_checkpointing {
            return self.checkpointed(text, trainable, loss);
        }
        let forward = |matrices: &[F::Tensor]| {
            let mut heads = SharedHeads::new(&self.specs);
            let mut x = F::share(&text.x);
            for index in 0..self.layers.len() {
                let (shared, matrices) = (heads.of(index), &matrices[trainable.range(index)]);
                let of_text = self.train_layer(index, &x, shared, text, trainable, matrices)?;
                heads.keep(of_text.own);
                x = of_text.x;
            }
            loss(&x)
        };
        F::value_and_gradients(forward, trainable.matrices)
    }

    /// The layer `index` on `x`, with `shared` keys and values where it has none of its own, and adapters of
    /// `matrices`.
    fn train_layer(
        &self,
        index: usize,
        x: &F::Tensor,
        shared: Option<&[F::Tensor; 2]>,
        text: &Text<'_, F>,
        trainable: &Trainable<'_, F::Tensor>,
        matrices: &[F::Tensor],
    ) -> Result<OfText<F::Tensor>, F::Error> {
        let (input, span) = (text.inputs.get(index), text.spans.of(index));
        let adapters = trainable.on_layer(index, matrices.iter().map(F::share));
        self.layers[index].train(x, input, span, &adapters, shared)
    }
}

/// Keys and values of a text that later layers share.
struct SharedHeads<'a, T> {
    specs: &'a [LayerSpec],
    /// Of each layer so far, where others share its own.
    of_owners: Vec<Option<[T; 2]>>,
}

impl<'a, T> SharedHeads<'a, T> {
    fn new(specs: &'a [LayerSpec]) -> Self {
        Self {
            specs,
            of_owners: Vec::with_capacity(specs.len()),
        }
    }

    /// Whose keys and values the layer `index` has where they aren't its own.
    fn owner(&self, index: usize) -> Option<usize> {
        match self.specs[index].attention.keys_values {
            KeysValues::Of(owner) => Some(owner),
            KeysValues::Own | KeysValues::OneProjection => None,
        }
    }

    /// Those that the layer `index` shares of another.
    fn of(&self, index: usize) -> Option<&[T; 2]> {
        self.of_owners[self.owner(index)?].as_ref()
    }

    /// Takes the next layer's own, which are kept where others share them.
    fn keep(&mut self, own: Option<[T; 2]>) {
        let index = self.of_owners.len();
        let is_owner = (index..self.specs.len()).any(|layer| self.owner(layer) == Some(index));
        self.of_owners.push(own.filter(|_| is_owner));
    }
}
