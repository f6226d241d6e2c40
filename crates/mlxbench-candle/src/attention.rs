//! Grouped-query attention.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::cache::Append;

use crate::cache::KvCache;
use crate::linear::Linear;
use crate::norm::RmsNorm;
use crate::rope::Rope;
use crate::weights::LayerWeights;

/// What all layers of one kind share in one pass.
#[derive(Debug)]
pub(crate) struct Span {
    /// Where the new entries of the KV cache go and which of them are read.
    pub(crate) append: Append,
    /// The additive mask in f32, of shape `[tokens, read]`; `None` for a single token, which sees
    /// all that is read.
    pub(crate) mask: Option<Tensor>,
    /// The new tokens' rotations.
    pub(crate) rope: Rope,
}

/// Queries, keys and values, each of shape `[batch, heads, tokens, head_dim]` and contiguous.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) queries: Tensor,
    pub(crate) keys: Tensor,
    pub(crate) values: Tensor,
}

impl Heads {
    /// Rotates queries and keys.
    pub(crate) fn rotated(self, rope: &Rope) -> Result<Self> {
        Ok(Self {
            queries: rope.forward(&self.queries)?,
            keys: rope.forward(&self.keys)?,
            ..self
        })
    }
}

/// The attention of one layer.
#[derive(Debug)]
pub(crate) struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f64,
    softcap: Option<f64>,
    /// Queries, keys and values in one product.
    qkv_proj: Linear,
    pub(crate) o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

impl Attention {
    pub(crate) fn load(config: &GemmaConfig, weights: &LayerWeights<'_>) -> Result<Self> {
        let linear = |projections: &[&str], width| {
            let names = |part| {
                projections
                    .iter()
                    .map(move |p| format!("self_attn.{p}_proj.{part}"))
            };
            let (matrices, biases): (Vec<_>, Vec<_>) =
                (names("weight").collect(), names("bias").collect());
            let matrices: Vec<&str> = matrices.iter().map(String::as_str).collect();
            let biases: Vec<&str> = biases.iter().map(String::as_str).collect();
            let bias = config
                .attention_bias
                .then(|| weights.vector(&biases))
                .transpose()?;
            Ok::<_, candle_core::Error>(Linear::new(weights.matrix(&matrices, width)?, bias))
        };
        let norm = |name| {
            let factor = config
                .has_qk_norm()
                .then(|| weights.norm(name))
                .transpose()?;
            Ok::<_, candle_core::Error>(factor.map(|f| RmsNorm::new(f, config.rms_norm_eps)))
        };
        Ok(Self {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale(),
            softcap: config.attn_logit_softcapping,
            qkv_proj: linear(&["q", "k", "v"], config.hidden_size)?,
            o_proj: linear(&["o"], config.num_attention_heads * config.head_dim)?,
            q_norm: norm("self_attn.q_norm.weight")?,
            k_norm: norm("self_attn.k_norm.weight")?,
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape; appends to `cache`.
    pub(crate) fn forward(&self, x: &Tensor, span: &Span, cache: &KvCache) -> Result<Tensor> {
        let heads = self.normalized(self.project(x)?)?.rotated(&span.rope)?;
        self.o_proj.forward(&self.attend(&heads, span, cache)?)
    }

    /// The heads of `x`, of shape `[batch, tokens, hidden_size]`.
    pub(crate) fn project(&self, x: &Tensor) -> Result<Heads> {
        let (batch, tokens, _) = x.dims3()?;
        let qkv = self.qkv_proj.forward(x)?;
        let split = |first: usize, heads: usize| {
            qkv.narrow(2, first * self.head_dim, heads * self.head_dim)?
                .reshape((batch, tokens, heads, self.head_dim))?
                .transpose(1, 2)?
                .contiguous()
        };
        Ok(Heads {
            queries: split(0, self.heads)?,
            keys: split(self.heads, self.kv_heads)?,
            values: split(self.heads + self.kv_heads, self.kv_heads)?,
        })
    }

    /// Gemma 3 normalises queries and keys before it rotates them.
    pub(crate) fn normalized(&self, heads: Heads) -> Result<Heads> {
        match (&self.q_norm, &self.k_norm) {
            (Some(q_norm), Some(k_norm)) => Ok(Heads {
                queries: q_norm.forward(&heads.queries)?,
                keys: k_norm.forward(&heads.keys)?,
                ..heads
            }),
            _ => Ok(heads),
        }
    }

    /// What queries see, of shape `[batch, tokens, heads * head_dim]`; appends keys and values to
    /// `cache`.
    pub(crate) fn attend(&self, heads: &Heads, span: &Span, cache: &KvCache) -> Result<Tensor> {
        let (batch, _, tokens, _) = heads.queries.dims4()?;
        let (keys, values) = cache.append(&span.append, &heads.keys, &heads.values)?;

        // The queries that share a key and value head stand below one another, so neither is
        // repeated.
        let grouped = (
            batch,
            self.kv_heads,
            self.heads / self.kv_heads * tokens,
            self.head_dim,
        );
        let scores = (heads.queries.reshape(grouped)?.matmul(&keys.t()?)? * self.scale)?;
        let weights = self.softmax(scores, batch, tokens, span.mask.as_ref())?;
        let mixed = weights.matmul(&values)?;
        let mixed = mixed.reshape((batch, self.heads, tokens, self.head_dim))?;
        mixed.transpose(1, 2)?.flatten_from(2)
    }

    /// Attention weights from `scores`, of shape `[batch, kv_heads, group * tokens, read]`. The
    /// soft-cap comes before the mask; the softmax is taken in f32.
    fn softmax(
        &self,
        scores: Tensor,
        batch: usize,
        tokens: usize,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let dtype = scores.dtype();
        let capped = match self.softcap {
            Some(cap) => ((scores / cap)?.tanh()? * cap)?,
            None => scores,
        };
        let grouped = capped.shape().clone();
        let mut scores = capped.to_dtype(DType::F32)?;
        if let Some(mask) = mask {
            scores = scores
                .reshape((batch, self.heads, tokens, ()))?
                .broadcast_add(mask)?;
        }
        softmax_last_dim(&scores)?.to_dtype(dtype)?.reshape(grouped)
    }
}
