//! What training asks of an adapter beside what running a model does: parts through which gradients pass, over a whole
//! text and without a KV cache. Kernels for running a model lose them in some frameworks, and memory that is written in
//! place loses what a backward pass needs. How the parts make a layer stands in [`crate::gemma::Layer`], once for all.

use std::fmt;
use std::ops::Range;

use crate::gemma::AttentionSpec;
use crate::gemma::parts::{Framework, Heads, Spans};
use crate::gemma::pass::Pass;
use crate::lora::{Adapter, Lora, Module};

/// The matrices of an adapter: see [`crate::lora`].
#[derive(Debug, Clone)]
pub struct LowRank<T> {
    /// Shape `[rank, in_features]`, in f32.
    pub a: T,
    /// Shape `[out_features, rank]`, in f32.
    pub b: T,
    /// Factor on what they give.
    pub scale: f64,
}

/// The adapters of a layer, by projection.
#[derive(Debug, Clone)]
pub struct LayerAdapters<T> {
    of_modules: [Option<LowRank<T>>; Module::ALL.len()],
}

impl<T> Default for LayerAdapters<T> {
    fn default() -> Self {
        Self {
            of_modules: Default::default(),
        }
    }
}

impl<T> LayerAdapters<T> {
    /// Those of one layer, of `matrices`: `A` and `B` of each of its `adapters`, one behind the other.
    pub(in crate::gemma) fn new(
        lora: &Lora,
        adapters: &[Adapter],
        matrices: impl IntoIterator<Item = T>,
    ) -> Self {
        let mut of_layer = Self::default();
        let mut matrices = matrices.into_iter();
        for adapter in adapters {
            if let (Some(a), Some(b)) = (matrices.next(), matrices.next()) {
                of_layer.of_modules[adapter.module as usize] = Some(LowRank {
                    a,
                    b,
                    scale: lora.scale.into(),
                });
            }
        }
        of_layer
    }

    /// That on `module`, where there is one.
    pub fn on(&self, module: Module) -> Option<&LowRank<T>> {
        self.of_modules[module as usize].as_ref()
    }
}

/// What is trained.
#[derive(Debug, Clone, Copy)]
pub struct Trainable<'a, T> {
    /// How.
    pub lora: &'a Lora,
    /// Layer by layer, as [`crate::lora::adapters`] has them.
    pub adapters: &'a [Adapter],
    /// `A` and `B` of each adapter, one behind the other. f32, and constants to autograd.
    pub matrices: &'a [T],
}

impl<'a, T> Trainable<'a, T> {
    /// Where the matrices of the layer `index` are.
    pub(in crate::gemma) fn range(&self, index: usize) -> Range<usize> {
        let before = |limit| {
            self.adapters
                .partition_point(|adapter| adapter.layer < limit)
        };
        2 * before(index)..2 * before(index + 1)
    }

    /// Those of the layer `index`.
    pub(in crate::gemma) fn of(&self, index: usize) -> &'a [T] {
        &self.matrices[self.range(index)]
    }

    /// The adapters of the layer `index`, with `matrices` in the place of its own.
    pub(in crate::gemma) fn on_layer(
        &self,
        index: usize,
        matrices: impl IntoIterator<Item = T>,
    ) -> LayerAdapters<T> {
        let Range { start, end } = self.range(index);
        LayerAdapters::new(self.lora, &self.adapters[start / 2..end / 2], matrices)
    }
}

/// What goes into the layers for a whole text.
pub struct Text<'a, F: Framework> {
    /// Embeddings, of shape `[batch, tokens, hidden_size]`.
    pub x: F::Tensor,
    /// Those for each layer, where there are any.
    pub inputs: &'a [F::Tensor],
    /// Of [`Decoder::text`](crate::gemma::Decoder::text).
    pub spans: &'a Spans<F>,
}

impl<F: Framework> fmt::Debug for Text<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

/// A scalar and its gradients.
pub type ValueAndGradients<F> = (<F as Framework>::Tensor, Vec<<F as Framework>::Tensor>);

/// A framework whose parts pass gradients on. Shapes are those of [`crate::gemma::parts`]. Weights have no gradient.
///
/// Errors are the framework's own.
pub trait Differentiable: Framework {
    /// The scalar that `f` gives for `at`, and its gradients, one for each of `at`, by the framework's autograd. `f`
    /// must depend on each. Nothing that is given is kept for another backward pass.
    fn value_and_gradients(
        f: impl Fn(&[Self::Tensor]) -> Result<Self::Tensor, Self::Error>,
        at: &[Self::Tensor],
    ) -> Result<ValueAndGradients<Self>, Self::Error>;

    /// The sum over all elements of `x * y`, a scalar.
    fn dot(x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// Has `tensors` computed where the framework would put that off, so that what they are made of needn't be kept.
    fn settle(_tensors: &[Self::Tensor]) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The mask of a pass over a whole text, as [`Differentiable::attend`] takes it.
    fn mask_of_text(
        pass: &Pass,
        attention: &AttentionSpec,
        place: &Self::Place,
    ) -> Result<Self::Mask, Self::Error>;

    /// [`Norm::forward`](crate::gemma::parts::Norm::forward).
    fn norm(norm: &Self::Norm, x: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// [`Rope::forward`](crate::gemma::parts::Rope::forward).
    fn rotate(rope: &Self::Rope, x: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// [`Attention::project`](crate::gemma::parts::Attention::project).
    fn project(
        attention: &Self::Attention,
        x: &Self::Tensor,
    ) -> Result<Heads<Self::Tensor>, Self::Error>;

    /// The heads of `x`, from `[batch, tokens, heads * head_dim]` to `[batch, heads, tokens, head_dim]`.
    fn split(attention: &Self::Attention, x: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// What queries make of keys and values under `mask`, of shape `[batch, tokens, heads * head_dim]`.
    fn attend(
        attention: &Self::Attention,
        queries: &Self::Tensor,
        keys_values: [&Self::Tensor; 2],
        mask: &Self::Mask,
    ) -> Result<Self::Tensor, Self::Error>;

    /// [`Attention::output`](crate::gemma::parts::Attention::output).
    fn output(
        attention: &Self::Attention,
        mixed: &Self::Tensor,
    ) -> Result<Self::Tensor, Self::Error>;

    /// [`Mlp::gate_up`](crate::gemma::parts::Mlp::gate_up), its halves apart.
    fn gate_up(mlp: &Self::Mlp, x: &Self::Tensor) -> Result<[Self::Tensor; 2], Self::Error>;

    /// `gelu(gate) * up`, with the tanh form of GELU.
    fn gated(gate: &Self::Tensor, up: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// [`Mlp::down`](crate::gemma::parts::Mlp::down).
    fn down(mlp: &Self::Mlp, gated: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// [`PerLayerInput::forward`](crate::gemma::parts::PerLayerInput::forward).
    fn per_layer_input(
        part: &Self::PerLayerInput,
        x: &Self::Tensor,
        input: &Self::Tensor,
    ) -> Result<Self::Tensor, Self::Error>;

    /// `scale * (x A^T) B^T` of `x`, of shape `[batch, tokens, in_features]`, computed in f32 and given in the dtype of
    /// `x`.
    fn low_rank(
        adapter: &LowRank<Self::Tensor>,
        x: &Self::Tensor,
    ) -> Result<Self::Tensor, Self::Error>;

    /// `x + y`, neither of which changes.
    fn sum(x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// `x * by`, and `x` doesn't change.
    fn scaled(x: &Self::Tensor, by: &Self::Scalar) -> Result<Self::Tensor, Self::Error>;
}
