//! A layer through which gradients pass, with adapters on its projections.

use super::Layer;
use crate::gemma::parts::{Heads, Span};
use crate::gemma::train::{Differentiable, LayerAdapters};
use crate::lora::Module;

/// What a layer, or a part of it, makes of a text.
pub(in crate::gemma) struct OfText<T> {
    /// What goes on.
    pub(in crate::gemma) x: T,
    /// Keys, rotated, and values, where the layer has its own.
    pub(in crate::gemma) own: Option<[T; 2]>,
}

impl<F: Differentiable> Layer<F> {
    /// As [`Layer::forward`] of a whole text, without experts. `shared` are keys and values of another layer where
    /// this one has none of its own; gives its own where it has. Gradients pass through both.
    pub(in crate::gemma) fn train(
        &self,
        x: &F::Tensor,
        input: Option<&F::Tensor>,
        span: &Span<F>,
        adapters: &LayerAdapters<F::Tensor>,
        shared: Option<&[F::Tensor; 2]>,
    ) -> Result<OfText<F::Tensor>, F::Error> {
        let heads = self.adapted_heads(&F::norm(&self.attention_norm, x)?, adapters)?;
        let OfText { x: queries, own } = self.normalized_and_rotated(&heads, span)?;
        let [keys, values] = own
            .as_ref()
            .or(shared)
            .expect("a layer without keys and values shares an earlier one's");
        let mixed = F::attend(&self.attention, &queries, [keys, values], &span.mask)?;
        let y = F::output(&self.attention, &mixed)?;
        let y = with::<F>(y, adapters, Module::Output, &mixed)?;
        let x = F::sum(x, &after::<F>(self.attention_post_norm.as_ref(), y)?)?;
        let y = self.adapted_mlp(&F::norm(&self.mlp_norm, &x)?, adapters)?;
        let mut x = F::sum(&x, &after::<F>(self.mlp_post_norm.as_ref(), y)?)?;
        if let (Some((part, norm)), Some(input)) = (&self.per_layer_input, input) {
            let y = F::norm(norm, &F::per_layer_input(part, &x, input)?)?;
            x = F::sum(&x, &y)?;
        }
        let x = match &self.scalar {
            Some(scalar) => F::scaled(&x, scalar)?,
            None => x,
        };
        Ok(OfText { x, own })
    }

    /// Queries, keys and values with what adapters add.
    fn adapted_heads(
        &self,
        x: &F::Tensor,
        adapters: &LayerAdapters<F::Tensor>,
    ) -> Result<Heads<F::Tensor>, F::Error> {
        let Heads {
            mut queries,
            mut keys_values,
        } = F::project(&self.attention, x)?;
        let added = |module| {
            let adapter = adapters.on(module);
            let added = adapter.map(|on| F::split(&self.attention, &F::low_rank(on, x)?));
            added.transpose()
        };
        if let Some(added) = added(Module::Query)? {
            queries = F::sum(&queries, &added)?;
        }
        if let Some([keys, values]) = &mut keys_values {
            let of_keys = added(Module::Key)?;
            // One projection for both has one adapter for both.
            let of_values = match self.values_are_keys {
                true => of_keys.as_ref().map(F::share),
                false => added(Module::Value)?,
            };
            for (heads, added) in [(keys, of_keys), (values, of_values)] {
                if let Some(added) = added {
                    *heads = F::sum(heads, &added)?;
                }
            }
        }
        Ok(Heads {
            queries,
            keys_values,
        })
    }

    fn normalized_and_rotated(
        &self,
        heads: &Heads<F::Tensor>,
        span: &Span<F>,
    ) -> Result<OfText<F::Tensor>, F::Error> {
        let norms = &self.head_norms;
        let normalized = |norm: &Option<F::Norm>, x: &F::Tensor| match norm {
            Some(norm) => F::norm(norm, x),
            None => Ok(F::share(x)),
        };
        let x = F::rotate(&span.rope, &normalized(&norms.queries, &heads.queries)?)?;
        let own = heads.keys_values.as_ref().map(|[keys, values]| {
            let keys = F::rotate(&span.rope, &normalized(&norms.keys, keys)?)?;
            Ok([keys, normalized(&norms.values, values)?])
        });
        let own = own.transpose()?;
        Ok(OfText { x, own })
    }

    fn adapted_mlp(
        &self,
        x: &F::Tensor,
        adapters: &LayerAdapters<F::Tensor>,
    ) -> Result<F::Tensor, F::Error> {
        let [gate, up] = F::gate_up(&self.mlp, x)?;
        let gate = with::<F>(gate, adapters, Module::Gate, x)?;
        let up = with::<F>(up, adapters, Module::Up, x)?;
        let gated = F::gated(&gate, &up)?;
        with::<F>(F::down(&self.mlp, &gated)?, adapters, Module::Down, &gated)
    }
}

/// `y`, with what the adapter on `module` makes of `x`, where there is one.
fn with<F: Differentiable>(
    y: F::Tensor,
    adapters: &LayerAdapters<F::Tensor>,
    module: Module,
    x: &F::Tensor,
) -> Result<F::Tensor, F::Error> {
    match adapters.on(module) {
        Some(adapter) => F::sum(&y, &F::low_rank(adapter, x)?),
        None => Ok(y),
    }
}

/// `y`, normalised where there is a norm for it.
fn after<F: Differentiable>(norm: Option<&F::Norm>, y: F::Tensor) -> Result<F::Tensor, F::Error> {
    match norm {
        Some(norm) => F::norm(norm, &y),
        None => Ok(y),
    }
}
