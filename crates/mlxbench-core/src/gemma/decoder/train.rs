//! All layers over a whole text, with adapters that gradients pass to, and no KV cache.

use super::Decoder;
use crate::Result;
use crate::backend::ContextShape;
use crate::gemma::KeysValues;
use crate::gemma::parts::{Rope, Span, Spans};
use crate::gemma::pass::Passes;
use crate::gemma::train::{Differentiable, LayerAdapters};

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

    /// Runs all layers on `x` and `inputs`, as [`Decoder::run`] takes them, with `adapters`, one for each layer.
    ///
    /// # Errors
    /// The framework's own.
    pub fn train(
        &self,
        mut x: F::Tensor,
        inputs: &[F::Tensor],
        spans: &Spans<F>,
        adapters: &[LayerAdapters<F::Tensor>],
    ) -> Result<F::Tensor, F::Error> {
        let mut keys_values: Vec<Option<[F::Tensor; 2]>> = Vec::with_capacity(self.layers.len());
        for (index, (layer, spec)) in self.layers.iter().zip(&self.specs).enumerate() {
            let shared = match spec.attention.keys_values {
                KeysValues::Of(layer) => keys_values[layer].as_ref(),
                KeysValues::Own | KeysValues::OneProjection => None,
            };
            let input = inputs.get(index);
            let of_text = layer.train(&x, input, spans.of(index), &adapters[index], shared)?;
            keys_values.push(of_text.own);
            x = of_text.x;
        }
        Ok(x)
    }
}
