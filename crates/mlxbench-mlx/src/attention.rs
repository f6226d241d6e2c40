//! Grouped-query attention.

use mlx_rs::error::Result;
use mlx_rs::fast::{ScaledDotProductAttentionMask, scaled_dot_product_attention};
use mlx_rs::ops::softmax_axis;
use mlx_rs::{Array, Dtype};
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::cache::Append;

use crate::cache::KvCache;
use crate::fused::SoftCap;
use crate::linear::Linear;
use crate::norm::RmsNorm;
use crate::rope::Rope;
use crate::weights::LayerWeights;

/// What all layers of one kind share in one pass.
#[derive(Debug)]
pub(crate) struct Span {
    /// Where the new entries of the KV cache go and which of them are read.
    pub(crate) append: Append,
    /// Which of them each new token sees.
    pub(crate) mask: Mask,
    /// The new tokens' rotations.
    pub(crate) rope: Rope,
}

/// Queries, keys and values, each of shape `[batch, heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) queries: Array,
    pub(crate) keys: Array,
    pub(crate) values: Array,
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

/// Which of the entries read a token sees.
#[derive(Debug)]
pub(crate) enum Mask {
    /// All of them.
    None,
    /// Those that aren't later.
    Causal,
    /// As this additive mask says, of shape `[tokens, read]`, in the model's dtype.
    Additive(Array),
}

/// The attention of one layer.
#[derive(Debug)]
pub(crate) struct Attention {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
    softcap: Option<SoftCap>,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    pub(crate) o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

impl Attention {
    pub(crate) fn load(config: &GemmaConfig, weights: &LayerWeights<'_>) -> Result<Self> {
        let linear = |name: &str, width| -> Result<Linear> {
            let named = |part| [format!("self_attn.{name}_proj.{part}")];
            let bias = config
                .attention_bias
                .then(|| weights.vector(&named("bias")));
            Ok(Linear::new(
                weights.matrix(&named("weight"), width)?,
                bias.transpose()?,
            ))
        };
        let norm = |name| -> Result<Option<RmsNorm>> {
            let factor = config
                .has_qk_norm()
                .then(|| weights.norm(name))
                .transpose()?;
            Ok(factor.map(|factor| RmsNorm::new(factor, config.rms_norm_eps)))
        };
        Ok(Self {
            heads: config.num_attention_heads as i32,
            kv_heads: config.num_key_value_heads as i32,
            head_dim: config.head_dim as i32,
            scale: config.attention_scale() as f32,
            softcap: config.attn_logit_softcapping.map(SoftCap::new),
            q_proj: linear("q", config.hidden_size)?,
            k_proj: linear("k", config.hidden_size)?,
            v_proj: linear("v", config.hidden_size)?,
            o_proj: linear("o", config.num_attention_heads * config.head_dim)?,
            q_norm: norm("self_attn.q_norm.weight")?,
            k_norm: norm("self_attn.k_norm.weight")?,
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape; appends to `cache`.
    pub(crate) fn forward(&self, x: &Array, span: &Span, cache: &mut KvCache) -> Result<Array> {
        let heads = self.normalized(self.project(x)?)?.rotated(&span.rope)?;
        self.o_proj.forward(&self.attend(&heads, span, cache)?)
    }

    /// The heads of `x`, of shape `[batch, tokens, hidden_size]`. Three products: OpenBLAS has a
    /// fast path for small ones, which one over all would miss.
    pub(crate) fn project(&self, x: &Array) -> Result<Heads> {
        let (batch, tokens) = (x.dim(0), x.dim(1));
        let project = |linear: &Linear, heads: i32| {
            linear
                .forward(x)?
                .reshape(&[batch, tokens, heads, self.head_dim])?
                .transpose_axes(&[0, 2, 1, 3])
        };
        Ok(Heads {
            queries: project(&self.q_proj, self.heads)?,
            keys: project(&self.k_proj, self.kv_heads)?,
            values: project(&self.v_proj, self.kv_heads)?,
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
    pub(crate) fn attend(&self, heads: &Heads, span: &Span, cache: &mut KvCache) -> Result<Array> {
        let (batch, tokens) = (heads.queries.dim(0), heads.queries.dim(2));
        let queries = &heads.queries;
        let (keys, values) = cache.append(&span.append, &heads.keys, &heads.values)?;

        let mixed = match &self.softcap {
            Some(softcap) => self.capped(softcap, queries, &keys, &values, &span.mask)?,
            None => {
                let mask = match &span.mask {
                    Mask::None => None,
                    Mask::Causal => Some(ScaledDotProductAttentionMask::Causal),
                    Mask::Additive(mask) => Some(ScaledDotProductAttentionMask::Array(mask)),
                };
                scaled_dot_product_attention(queries, keys, values, self.scale, mask, None)?
            }
        };
        let mixed = mixed.transpose_axes(&[0, 2, 1, 3])?;
        mixed.reshape(&[batch, tokens, self.heads * self.head_dim])
    }

    /// Attention with a soft-cap before the mask, which MLX's fused attention doesn't know. The
    /// softmax is taken in f32.
    fn capped(
        &self,
        softcap: &SoftCap,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: &Mask,
    ) -> Result<Array> {
        let (shape, dtype) = (queries.shape(), queries.dtype());
        // The queries that share a key and value head stand below one another, so neither is
        // repeated.
        let group = self.heads / self.kv_heads * shape[2];
        let grouped = queries.reshape(&[shape[0], self.kv_heads, group, self.head_dim])?;
        let scale = Array::from_f32(self.scale).as_dtype(dtype)?;
        let scores = grouped.multiply(scale)?.matmul(keys.swap_axes(2, 3)?)?;
        let mut scores = softcap.forward(&scores)?.as_dtype(Dtype::Float32)?;
        if let Mask::Additive(mask) = mask {
            let by_head = [shape[0], self.heads, shape[2], keys.dim(2)];
            scores = scores.reshape(&by_head)?.add(mask)?;
        }
        let weights = softmax_axis(&scores, -1, true)?.as_dtype(dtype)?;
        let weights = weights.reshape(&[shape[0], self.kv_heads, group, keys.dim(2)])?;
        weights.matmul(values)?.reshape(shape)
    }
}
