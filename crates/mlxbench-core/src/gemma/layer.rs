//! A layer, put together from an adapter's parts: the same way for all.

mod train;

use std::fmt;

pub(in crate::gemma) use train::OfText;

use crate::gemma::parts::{
    Attention, Cache, Experts, Framework, Heads, Mlp, Norm, PerLayerInput, Rope, Span,
};
use crate::gemma::{EXPERTS_NORMS, GemmaConfig, KeysValues, LayerNames, NormSpec, PER_LAYER_NORM};

/// One layer.
pub struct Layer<F: Framework> {
    /// Of what goes into attention.
    pub attention_norm: F::Norm,
    /// The attention.
    pub attention: F::Attention,
    /// Whether both come from one projection.
    values_are_keys: bool,
    head_norms: HeadNorms<F>,
    /// Of what comes out of attention.
    attention_post_norm: Option<F::Norm>,
    /// Of what goes into the MLP.
    mlp_norm: F::Norm,
    /// The MLP.
    pub mlp: F::Mlp,
    experts: Option<ExpertsBeside<F>>,
    /// Of what comes out of the MLP.
    mlp_post_norm: Option<F::Norm>,
    /// What the layer makes of its own embeddings, and the norm of that.
    per_layer_input: Option<(F::PerLayerInput, F::Norm)>,
    scalar: Option<F::Scalar>,
}

/// The norms of heads, where there are any: of queries and of keys before they are rotated.
struct HeadNorms<F: Framework> {
    queries: Option<F::Norm>,
    keys: Option<F::Norm>,
    values: Option<F::Norm>,
}

/// Experts beside an MLP, and the norms around both.
struct ExpertsBeside<F: Framework> {
    /// Of what comes out of the MLP.
    mlp_post_norm: F::Norm,
    /// Of what the router sees.
    router_norm: F::Norm,
    /// Of what goes into the experts.
    norm: F::Norm,
    experts: F::Experts,
    /// Of what comes out of them.
    post_norm: F::Norm,
}

impl<F: Framework> Layer<F> {
    /// The layer `index` of `config`.
    ///
    /// # Errors
    /// The framework's own, as of all that follow.
    pub fn load(
        config: &GemmaConfig,
        index: usize,
        weights: &F::Weights<'_>,
    ) -> Result<Self, F::Error> {
        let (spec, names) = (&config.layers[index], LayerNames(index));
        let hidden = config.hidden_size;
        let norm = |name: &str| F::Norm::load(weights, &config.norm(names.tensor(name), hidden));
        let per_layer_input = spec.per_layer_input.map(|width| {
            let input = F::PerLayerInput::load(weights, names, width, hidden)?;
            Ok((input, norm(PER_LAYER_NORM)?))
        });
        let scalar = spec
            .scalar
            .map(|name| F::scalar(weights, &names.tensor(name)));
        Ok(Self {
            attention: F::Attention::load(weights, names, &spec.attention, hidden)?,
            mlp: F::Mlp::load(weights, names, spec.mlp_width, hidden)?,
            experts: ExpertsBeside::load(config, index, weights)?,
            attention_norm: norm(spec.norms.input)?,
            values_are_keys: spec.attention.keys_values == KeysValues::OneProjection,
            head_norms: HeadNorms::load(config, index, weights)?,
            attention_post_norm: spec.norms.post_attention.map(norm).transpose()?,
            mlp_norm: norm(spec.norms.pre_feedforward)?,
            mlp_post_norm: spec.norms.post_feedforward.map(norm).transpose()?,
            per_layer_input: per_layer_input.transpose()?,
            scalar: scalar.transpose()?,
        })
    }

    /// From `[batch, tokens, hidden]` to the same shape; appends to `cache`, where keys and values are the layer's
    /// own. `input` is the layer's own embeddings of the tokens, of shape `[batch, tokens, width]`, where it has
    /// any.
    ///
    /// # Errors
    /// The framework's own.
    pub fn forward(
        &self,
        x: F::Tensor,
        input: Option<&F::Tensor>,
        span: &Span<F>,
        cache: &mut F::Cache,
    ) -> Result<F::Tensor, F::Error> {
        let heads = self.attention.project(&self.attention_norm.forward(&x)?)?;
        let heads = self.rotated(self.normalized(heads)?, span)?;
        let y = self
            .attention
            .output(&self.attention.attend(&heads, span, cache)?)?;
        let x = F::add(x, after::<F>(self.attention_post_norm.as_ref(), y)?)?;
        let y = self.feed_forward(&x)?;
        let mut x = F::add(x, after::<F>(self.mlp_post_norm.as_ref(), y)?)?;
        if let (Some((part, norm)), Some(input)) = (&self.per_layer_input, input) {
            let y = norm.forward(&part.forward(&x, input)?)?;
            x = F::add(x, y)?;
        }
        match &self.scalar {
            Some(scalar) => F::scale(x, scalar),
            None => Ok(x),
        }
    }

    /// What the MLP, and experts beside it, make of `x`.
    fn feed_forward(&self, x: &F::Tensor) -> Result<F::Tensor, F::Error> {
        let gate_up = self.mlp.gate_up(&self.mlp_norm.forward(x)?)?;
        let y = self.mlp.down(&self.mlp.gated(&gate_up)?)?;
        match &self.experts {
            Some(beside) => F::add(beside.mlp_post_norm.forward(&y)?, beside.forward(x)?),
            None => Ok(y),
        }
    }

    /// Appends the keys and values of `x` to `cache`, where they are the layer's own, and computes nothing
    /// else.
    ///
    /// # Errors
    /// The framework's own.
    pub fn store(
        &self,
        x: &F::Tensor,
        span: &Span<F>,
        cache: &mut F::Cache,
    ) -> Result<(), F::Error> {
        let x = self.attention_norm.forward(x)?;
        let kv = self.attention.project_keys_values(&x)?;
        let [keys, values] = self.head_norms.keys_values(kv)?;
        let keys = span.rope.forward(&keys)?;
        cache.append(&span.append, &keys, &values).map(drop)
    }

    /// Queries, keys and values, normalised where the layer has norms for them.
    ///
    /// # Errors
    /// The framework's own.
    pub fn normalized(&self, heads: Heads<F::Tensor>) -> Result<Heads<F::Tensor>, F::Error> {
        let norms = &self.head_norms;
        let kv = heads.keys_values.map(|kv| norms.keys_values(kv));
        Ok(Heads {
            queries: after::<F>(norms.queries.as_ref(), heads.queries)?,
            keys_values: kv.transpose()?,
        })
    }

    /// Queries and keys, rotated.
    ///
    /// # Errors
    /// The framework's own.
    pub fn rotated(
        &self,
        heads: Heads<F::Tensor>,
        span: &Span<F>,
    ) -> Result<Heads<F::Tensor>, F::Error> {
        let Heads {
            queries,
            keys_values,
        } = heads;
        Ok(match keys_values {
            Some([keys, values]) => {
                let [queries, keys] = span.rope.both(&queries, &keys)?;
                Heads {
                    queries,
                    keys_values: Some([keys, values]),
                }
            }
            None => Heads {
                queries: span.rope.forward(&queries)?,
                keys_values: None,
            },
        })
    }
}

impl<F: Framework> HeadNorms<F> {
    fn load(
        config: &GemmaConfig,
        index: usize,
        weights: &F::Weights<'_>,
    ) -> Result<Self, F::Error> {
        let (spec, names) = (&config.layers[index], LayerNames(index));
        let (norms, attention) = (&spec.norms, &spec.attention);
        let load = |spec: NormSpec| F::Norm::load(weights, &spec);
        let norm = |place: usize| {
            let name = norms.queries_keys.map(|norms| names.tensor(norms[place]));
            name.map(|name| load(config.norm(name, attention.head_dim)))
        };
        let own = attention.keys_values.are_own();
        let of_values = (own && norms.values).then(|| load(config.plain_norm(attention.head_dim)));
        Ok(Self {
            queries: norm(0).transpose()?,
            keys: own.then(|| norm(1)).flatten().transpose()?,
            values: of_values.transpose()?,
        })
    }

    fn keys_values(&self, [keys, values]: [F::Tensor; 2]) -> Result<[F::Tensor; 2], F::Error> {
        Ok([
            after::<F>(self.keys.as_ref(), keys)?,
            after::<F>(self.values.as_ref(), values)?,
        ])
    }
}

impl<F: Framework> ExpertsBeside<F> {
    fn load(
        config: &GemmaConfig,
        index: usize,
        weights: &F::Weights<'_>,
    ) -> Result<Option<Self>, F::Error> {
        let (names, hidden) = (LayerNames(index), config.hidden_size);
        let Some(experts) = &config.layers[index].experts else {
            return Ok(None);
        };
        let norm = |name: &str| F::Norm::load(weights, &config.norm(names.tensor(name), hidden));
        let of_router = NormSpec {
            offset: 0.0,
            scale: (hidden as f64).powf(-0.5),
            ..config.norm(names.tensor("router.scale"), hidden)
        };
        let [mlp_post, before, after] = EXPERTS_NORMS;
        Ok(Some(Self {
            mlp_post_norm: norm(mlp_post)?,
            router_norm: F::Norm::load(weights, &of_router)?,
            norm: norm(before)?,
            experts: F::Experts::load(weights, names, experts, hidden)?,
            post_norm: norm(after)?,
        }))
    }

    fn forward(&self, x: &F::Tensor) -> Result<F::Tensor, F::Error> {
        let routed = self.router_norm.forward(x)?;
        let y = self.experts.forward(&routed, &self.norm.forward(x)?)?;
        self.post_norm.forward(&y)
    }
}

impl<F: Framework> fmt::Debug for Layer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}

/// `y`, normalised where there is a norm for it.
fn after<F: Framework>(norm: Option<&F::Norm>, y: F::Tensor) -> Result<F::Tensor, F::Error> {
    match norm {
        Some(norm) => norm.forward(&y),
        None => Ok(y),
    }
}
