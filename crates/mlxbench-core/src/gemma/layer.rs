//! A layer, put together from an adapter's parts: the same way for all.

use crate::gemma::parts::{Attention, Cache, Framework, Heads, Mlp, Norm, Rope, Span};
use crate::gemma::{GemmaConfig, LayerNames};

/// One layer.
#[derive(Debug)]
pub struct Layer<F: Framework> {
    /// Of what goes into attention.
    pub attention_norm: F::Norm,
    /// The attention.
    pub attention: F::Attention,
    /// Of queries and of keys, before they are rotated.
    head_norms: Option<[F::Norm; 2]>,
    /// Of what comes out of attention.
    attention_post_norm: Option<F::Norm>,
    /// Of what goes into the MLP.
    mlp_norm: F::Norm,
    /// The MLP.
    pub mlp: F::Mlp,
    /// Of what comes out of the MLP.
    mlp_post_norm: Option<F::Norm>,
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
        let norm = |name: &str| F::Norm::load(weights, &names.tensor(name), config.rms_norm_eps);
        let hidden = config.hidden_size;
        let head_norms = spec
            .norms
            .queries_keys
            .map(|[q, k]| Ok([norm(q)?, norm(k)?]));
        Ok(Self {
            attention: F::Attention::load(weights, names, &spec.attention, hidden)?,
            mlp: F::Mlp::load(weights, names, spec.mlp_width, hidden)?,
            attention_norm: norm(spec.norms.input)?,
            head_norms: head_norms.transpose()?,
            attention_post_norm: spec.norms.post_attention.map(norm).transpose()?,
            mlp_norm: norm(spec.norms.pre_feedforward)?,
            mlp_post_norm: spec.norms.post_feedforward.map(norm).transpose()?,
        })
    }

    /// From `[batch, tokens, hidden]` to the same shape; appends to `cache`.
    ///
    /// # Errors
    /// The framework's own.
    pub fn forward(
        &self,
        x: F::Tensor,
        span: &Span<F>,
        cache: &mut F::Cache,
    ) -> Result<F::Tensor, F::Error> {
        let heads = self.attention.project(&self.attention_norm.forward(&x)?)?;
        let heads = self.rotated(self.normalized(heads)?, span)?;
        let y = self
            .attention
            .output(&self.attention.attend(&heads, span, cache)?)?;
        let x = F::add(x, after::<F>(self.attention_post_norm.as_ref(), y)?)?;
        let gate_up = self.mlp.gate_up(&self.mlp_norm.forward(&x)?)?;
        let y = self.mlp.down(&self.mlp.gated(&gate_up)?)?;
        F::add(x, after::<F>(self.mlp_post_norm.as_ref(), y)?)
    }

    /// Appends the keys and values of `x` to `cache`, and computes nothing else.
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
        let [keys, values] = self.attention.project_keys_values(&x)?;
        let keys = match &self.head_norms {
            Some([_, norm]) => norm.forward(&keys)?,
            None => keys,
        };
        let keys = span.rope.forward(&keys)?;
        cache.append(&span.append, &keys, &values).map(drop)
    }

    /// Queries and keys, normalised where the layer has norms for them.
    ///
    /// # Errors
    /// The framework's own.
    pub fn normalized(&self, heads: Heads<F::Tensor>) -> Result<Heads<F::Tensor>, F::Error> {
        let Some([of_queries, of_keys]) = &self.head_norms else {
            return Ok(heads);
        };
        Ok(Heads {
            queries: of_queries.forward(&heads.queries)?,
            keys: of_keys.forward(&heads.keys)?,
            values: heads.values,
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
        let [queries, keys] = span.rope.both(&heads.queries, &heads.keys)?;
        Ok(Heads {
            queries,
            keys,
            values: heads.values,
        })
    }
}

/// `y`, normalised where there is a norm for it.
fn after<F: Framework>(norm: Option<&F::Norm>, y: F::Tensor) -> Result<F::Tensor, F::Error> {
    match norm {
        Some(norm) => norm.forward(&y),
        None => Ok(y),
    }
}
