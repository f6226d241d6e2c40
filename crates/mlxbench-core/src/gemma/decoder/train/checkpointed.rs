//! Gradient checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016), a layer at a time. A
//! forward pass keeps no more than what goes into each layer. Then, from the last layer back, each is computed once
//! more, now with what its own backward pass needs, which is gone before the layer below has its turn. Loss and
//! gradients are those of an ordinary step; the time is that of one more pass through the layers that have adapters.

use std::iter::once;
use std::mem::{replace, take};

use super::SharedHeads;
use crate::gemma::Decoder;
use crate::gemma::train::{Differentiable, Text, Trainable, ValueAndGradients};

impl<F: Differentiable> Decoder<F> {
    /// As [`Decoder::loss_and_gradients`]. Layers below the first one with adapters have no backward pass.
    pub(super) fn checkpointed(
        &self,
        text: &Text<'_, F>,
        trainable: &Trainable<'_, F::Tensor>,
        loss: impl Fn(&F::Tensor) -> Result<F::Tensor, F::Error>,
    ) -> Result<ValueAndGradients<F>, F::Error> {
        let layers = self.layers.len();
        let mut heads = SharedHeads::new(&self.specs);
        // What goes into each layer: `x`, then keys and values of another one where it shares them.
        let mut entries: Vec<Vec<F::Tensor>> = Vec::with_capacity(layers);
        let mut x = F::share(&text.x);
        for index in 0..layers {
            let shared = heads.of(index);
            let of_text =
                self.train_layer(index, &x, shared, text, trainable, trainable.of(index))?;
            let shared = shared.into_iter().flatten().map(F::share);
            entries.push(once(replace(&mut x, of_text.x)).chain(shared).collect());
            heads.keep(of_text.own);
        }
        let (loss, mut of_x) = F::value_and_gradients(|x| loss(&x[0]), &[x])?;
        let of_loss: Vec<F::Tensor> = of_x.iter().chain([&loss]).map(F::share).collect();
        F::settle(&of_loss)?;
        // The gradients of keys and values of each layer, summed over the later layers that share them.
        let mut of_heads: Vec<Vec<F::Tensor>> = (0..layers).map(|_| Vec::new()).collect();
        let mut of_matrices: Vec<Vec<F::Tensor>> = Vec::new();
        while let Some(entry) = entries.pop() {
            let index = entries.len();
            let matrices = trainable.of(index);
            if matrices.is_empty() {
                break;
            }
            let of_outputs: Vec<F::Tensor> =
                of_x.into_iter().chain(take(&mut of_heads[index])).collect();
            // A scalar whose gradients are those that come back through the layer.
            let through = |at: &[F::Tensor]| {
                let (matrices, entry) = at.split_at(matrices.len());
                let shared = entry[1..].first_chunk();
                let of_text =
                    self.train_layer(index, &entry[0], shared, text, trainable, matrices)?;
                let outputs = once(of_text.x).chain(of_text.own.into_iter().flatten());
                let products = outputs.zip(&of_outputs).map(|(y, of_y)| F::dot(&y, of_y));
                let sum = products.reduce(|sum, product| F::sum(&sum?, &product?));
                sum.expect("a layer has an output")
            };
            let at: Vec<F::Tensor> = matrices.iter().map(F::share).chain(entry).collect();
            let (_, mut gradients) = F::value_and_gradients(through, &at)?;
            F::settle(&gradients)?;
            let mut of_entry = gradients.split_off(matrices.len());
            let of_shared = of_entry.split_off(1);
            of_x = of_entry;
            of_matrices.push(gradients);
            if let Some(owner) = heads.owner(index) {
                of_heads[owner] = summed::<F>(take(&mut of_heads[owner]), of_shared)?;
            }
        }
        Ok((loss, of_matrices.into_iter().rev().flatten().collect()))
    }
}

/// `sums` with `more` added, one to each where there are any yet.
fn summed<F: Differentiable>(
    sums: Vec<F::Tensor>,
    more: Vec<F::Tensor>,
) -> Result<Vec<F::Tensor>, F::Error> {
    match sums.is_empty() {
        true => Ok(more),
        false => sums.iter().zip(&more).map(|(x, y)| F::sum(x, y)).collect(),
    }
}
