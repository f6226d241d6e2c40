//! What an adapter makes a layer of, against its framework's tensor API. How the parts make a layer
//! stands in [`Layer`](crate::gemma::Layer), once for all.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;
use crate::gemma::cache::Append;
use crate::gemma::pass::Pass;
use crate::gemma::{AttentionSpec, ExpertsSpec, LayerNames, NormSpec};

/// A framework, and the adapter's parts against it.
pub trait Framework: Sized {
    /// Its tensor.
    type Tensor;
    /// Its error.
    type Error;
    /// Where a model is: a device, a dtype.
    type Place;
    /// A checkpoint that is being loaded.
    type Weights<'a>;
    /// RMSNorm.
    type Norm: Norm<Self>;
    /// Rotary position embeddings.
    type Rope: Rope<Self>;
    /// A mask as attention takes it.
    type Mask;
    /// The KV cache of a layer.
    type Cache: Cache<Self>;
    /// The attention of a layer.
    type Attention: Attention<Self>;
    /// The MLP of a layer.
    type Mlp: Mlp<Self>;
    /// The experts of a layer.
    type Experts: Experts<Self>;
    /// What a layer makes of its own embeddings of tokens.
    type PerLayerInput: PerLayerInput<Self>;
    /// A number that tensors are multiplied by.
    type Scalar;

    /// The framework's failure as ours.
    fn error(error: Self::Error) -> Error;

    /// The same tensor for another owner.
    fn share(tensor: &Self::Tensor) -> Self::Tensor;

    /// `x + y`; may take the memory of `y`, which nobody else holds.
    ///
    /// # Errors
    /// The framework's own, as of all that follow.
    fn add(x: Self::Tensor, y: Self::Tensor) -> Result<Self::Tensor, Self::Error>;

    /// The number that the tensor called `name` holds.
    ///
    /// # Errors
    /// The framework's own.
    fn scalar(weights: &Self::Weights<'_>, name: &str) -> Result<Self::Scalar, Self::Error>;

    /// `x * by`; may take the memory of `x`, which nobody else holds.
    ///
    /// # Errors
    /// The framework's own.
    fn scale(x: Self::Tensor, by: &Self::Scalar) -> Result<Self::Tensor, Self::Error>;

    /// The mask of a pass.
    ///
    /// # Errors
    /// The framework's own.
    fn mask(
        pass: &Pass,
        attention: &AttentionSpec,
        place: &Self::Place,
    ) -> Result<Self::Mask, Self::Error>;
}

/// What layers of one attention share in one pass.
pub struct Span<F: Framework> {
    /// Where the new entries of the KV cache go and which of them are read.
    pub append: Append,
    /// Which of those each new token sees.
    pub mask: F::Mask,
    /// The new tokens' rotations.
    pub rope: F::Rope,
}

/// The spans of a pass, by layer.
pub struct Spans<F: Framework> {
    /// One for each attention that layers have.
    pub(crate) of_attentions: Vec<Span<F>>,
    /// Which of them a layer takes.
    pub(crate) of_layers: Arc<[usize]>,
}

impl<F: Framework> Spans<F> {
    /// The span of the layer with this index.
    pub fn of(&self, layer: usize) -> &Span<F> {
        &self.of_attentions[self.of_layers[layer]]
    }
}

/// Queries, keys and values, each of shape `[batch, heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
pub struct Heads<T> {
    /// Of all query heads.
    pub queries: T,
    /// Keys and values of their heads, where the layer has its own.
    pub keys_values: Option<[T; 2]>,
}

/// RMSNorm over the last axis.
pub trait Norm<F: Framework>: Sized {
    /// The norm as `spec` says.
    ///
    /// # Errors
    /// The framework's own.
    fn load(weights: &F::Weights<'_>, spec: &NormSpec) -> Result<Self, F::Error>;

    /// Keeps shape and dtype.
    ///
    /// # Errors
    /// The framework's own.
    fn forward(&self, x: &F::Tensor) -> Result<F::Tensor, F::Error>;
}

/// Rotary position embeddings of a range of positions.
pub trait Rope<F: Framework>: Sized {
    /// Those of the first `positions` positions.
    ///
    /// # Errors
    /// The framework's own.
    fn new(attention: &AttentionSpec, positions: usize, place: &F::Place)
    -> Result<Self, F::Error>;

    /// Those of `positions` only.
    ///
    /// # Errors
    /// The framework's own.
    fn at(&self, positions: Range<usize>) -> Result<Self, F::Error>;

    /// Rotates the halves of each head of `x`, of shape `[batch, heads, positions, head_dim]`.
    ///
    /// # Errors
    /// The framework's own.
    fn forward(&self, x: &F::Tensor) -> Result<F::Tensor, F::Error>;

    /// Rotates queries and keys of the same tokens: one after the other, unless a framework can do it
    /// together.
    ///
    /// # Errors
    /// The framework's own.
    fn both(&self, queries: &F::Tensor, keys: &F::Tensor) -> Result<[F::Tensor; 2], F::Error> {
        Ok([self.forward(queries)?, self.forward(keys)?])
    }
}

/// Preallocated keys and values of a layer, each of shape `[batch, kv_heads, capacity, head_dim]`.
pub trait Cache<F: Framework>: Sized {
    /// An empty one.
    ///
    /// # Errors
    /// When it can't be allocated.
    fn new(
        attention: &AttentionSpec,
        batch: usize,
        capacity: usize,
        place: &F::Place,
    ) -> Result<Self, F::Error>;

    /// Writes `keys` and `values`, of shape `[batch, kv_heads, tokens, head_dim]`, where `append`
    /// says, and gives views of the entries that attention reads.
    ///
    /// # Errors
    /// The framework's own.
    fn append(
        &mut self,
        append: &Append,
        keys: &F::Tensor,
        values: &F::Tensor,
    ) -> Result<(F::Tensor, F::Tensor), F::Error>;

    /// Views of the entries that attention reads, for a layer that shares the cache of the one that has
    /// appended.
    ///
    /// # Errors
    /// The framework's own.
    fn read(&self, append: &Append) -> Result<(F::Tensor, F::Tensor), F::Error>;
}

/// Grouped-query attention.
pub trait Attention<F: Framework>: Sized {
    /// The attention of a layer, beside a residual stream of width `hidden`.
    ///
    /// # Errors
    /// The framework's own.
    fn load(
        weights: &F::Weights<'_>,
        names: LayerNames,
        attention: &AttentionSpec,
        hidden: usize,
    ) -> Result<Self, F::Error>;

    /// The heads of `x`, of shape `[batch, tokens, hidden]`.
    ///
    /// # Errors
    /// The framework's own.
    fn project(&self, x: &F::Tensor) -> Result<Heads<F::Tensor>, F::Error>;

    /// Keys and values of `x` alone, where the layer has its own.
    ///
    /// # Errors
    /// The framework's own.
    fn project_keys_values(&self, x: &F::Tensor) -> Result<[F::Tensor; 2], F::Error>;

    /// What queries see, of shape `[batch, tokens, heads * head_dim]`; appends keys and values to
    /// `cache`, where there are any.
    ///
    /// # Errors
    /// The framework's own.
    fn attend(
        &self,
        heads: &Heads<F::Tensor>,
        span: &Span<F>,
        cache: &mut F::Cache,
    ) -> Result<F::Tensor, F::Error>;

    /// What was seen, projected to `[batch, tokens, hidden]`.
    ///
    /// # Errors
    /// The framework's own.
    fn output(&self, mixed: &F::Tensor) -> Result<F::Tensor, F::Error>;
}

/// The gated MLP (GeGLU): `down(gelu(gate(x)) * up(x))`, with the tanh form of GELU.
pub trait Mlp<F: Framework>: Sized {
    /// The MLP of a layer, of width `width` beside a residual stream of width `hidden`.
    ///
    /// # Errors
    /// The framework's own.
    fn load(
        weights: &F::Weights<'_>,
        names: LayerNames,
        width: usize,
        hidden: usize,
    ) -> Result<Self, F::Error>;

    /// Both projections of `x`, of shape `[batch, tokens, 2 * width]`.
    ///
    /// # Errors
    /// The framework's own.
    fn gate_up(&self, x: &F::Tensor) -> Result<F::Tensor, F::Error>;

    /// The gated half of both, of shape `[batch, tokens, width]`.
    ///
    /// # Errors
    /// The framework's own.
    fn gated(&self, gate_up: &F::Tensor) -> Result<F::Tensor, F::Error>;

    /// The gated half, projected to `[batch, tokens, hidden]`.
    ///
    /// # Errors
    /// The framework's own.
    fn down(&self, gated: &F::Tensor) -> Result<F::Tensor, F::Error>;
}

/// A mixture of experts: a router, and gated MLPs of which each token goes through some.
pub trait Experts<F: Framework>: Sized {
    /// The experts of a layer, beside a residual stream of width `hidden`.
    ///
    /// # Errors
    /// The framework's own.
    fn load(
        weights: &F::Weights<'_>,
        names: LayerNames,
        experts: &ExpertsSpec,
        hidden: usize,
    ) -> Result<Self, F::Error>;

    /// The sum over the experts that the router chooses by `routed`, of what each makes of `x`, times its share:
    /// the softmax over their scores times their own factor. All are of shape `[batch, tokens, hidden]`.
    ///
    /// # Errors
    /// The framework's own.
    fn forward(&self, routed: &F::Tensor, x: &F::Tensor) -> Result<F::Tensor, F::Error>;
}

/// What a layer makes of its own embeddings of tokens: `projection(gelu(gate(x)) * input)`, with the tanh form of
/// GELU.
pub trait PerLayerInput<F: Framework>: Sized {
    /// That of a layer whose embeddings have width `width`, beside a residual stream of width `hidden`.
    ///
    /// # Errors
    /// The framework's own.
    fn load(
        weights: &F::Weights<'_>,
        names: LayerNames,
        width: usize,
        hidden: usize,
    ) -> Result<Self, F::Error>;

    /// From `x`, of shape `[batch, tokens, hidden]`, and `input`, of shape `[batch, tokens, width]`, to the shape
    /// of `x`.
    ///
    /// # Errors
    /// The framework's own.
    fn forward(&self, x: &F::Tensor, input: &F::Tensor) -> Result<F::Tensor, F::Error>;
}
