//! Grouped-query attention.

use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::cache::Append;
use tch::{Kind, TchError, Tensor};

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
    /// The additive mask of shape `[group * tokens, read]`, in the model's dtype for fused
    /// attention and in f32 else; `None` for a single token, which sees all that is read.
    pub(crate) mask: Option<Tensor>,
    /// The new tokens' rotations.
    pub(crate) rope: Rope,
}

/// Queries, keys and values, each of shape `[batch, heads, tokens, head_dim]`.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) queries: Tensor,
    pub(crate) keys: Tensor,
    pub(crate) values: Tensor,
}

impl Heads {
    /// The same tensors under another owner.
    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            queries: self.queries.shallow_clone(),
            keys: self.keys.shallow_clone(),
            values: self.values.shallow_clone(),
        }
    }

    /// Rotates queries and keys.
    pub(crate) fn rotated(self, rope: &Rope) -> Result<Self, TchError> {
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
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scale: f64,
    softcap: Option<f64>,
    fused: bool,
    /// Queries, keys and values in one product.
    qkv_proj: Linear,
    pub(crate) o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

impl Attention {
    /// `fused` takes libtorch's fused attention, which knows no soft-cap.
    pub(crate) fn load(
        config: &GemmaConfig,
        weights: &LayerWeights<'_>,
        fused: bool,
    ) -> Result<Self, TchError> {
        let linear = |projections: &[&str], width| {
            let names = |part| -> Vec<String> {
                let names = projections.iter();
                names
                    .map(|p| format!("self_attn.{p}_proj.{part}"))
                    .collect()
            };
            let bias = config
                .attention_bias
                .then(|| weights.vector(&names("bias")));
            let matrix = weights.matrix(&names("weight"), width)?;
            Ok::<_, TchError>(Linear::new(matrix, bias.transpose()?))
        };
        let norm = |name| {
            let factor = config
                .has_qk_norm()
                .then(|| weights.norm(name))
                .transpose()?;
            Ok::<_, TchError>(factor.map(|f| RmsNorm::new(f, config.rms_norm_eps)))
        };
        Ok(Self {
            heads: config.num_attention_heads as i64,
            kv_heads: config.num_key_value_heads as i64,
            head_dim: config.head_dim as i64,
            scale: config.attention_scale(),
            softcap: config.attn_logit_softcapping,
            fused,
            qkv_proj: linear(&["q", "k", "v"], config.hidden_size)?,
            o_proj: linear(&["o"], config.num_attention_heads * config.head_dim)?,
            q_norm: norm("self_attn.q_norm.weight")?,
            k_norm: norm("self_attn.k_norm.weight")?,
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape; appends to `cache`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        span: &Span,
        cache: &KvCache,
    ) -> Result<Tensor, TchError> {
        let heads = self.normalized(self.project(x)?)?.rotated(&span.rope)?;
        self.o_proj.forward(&self.attend(&heads, span, cache)?)
    }

    /// The heads of `x`, of shape `[batch, tokens, hidden_size]`.
    pub(crate) fn project(&self, x: &Tensor) -> Result<Heads, TchError> {
        let (batch, tokens, _) = x.size3()?;
        let qkv = self.qkv_proj.forward(x)?;
        let qkv = qkv.f_view([batch, tokens, self.heads + 2 * self.kv_heads, self.head_dim])?;
        let split = |first, heads| qkv.f_narrow(2, first, heads)?.f_transpose(1, 2);
        Ok(Heads {
            queries: split(0, self.heads)?,
            keys: split(self.heads, self.kv_heads)?,
            values: split(self.heads + self.kv_heads, self.kv_heads)?,
        })
    }

    /// Gemma 3 normalises queries and keys before it rotates them.
    pub(crate) fn normalized(&self, heads: Heads) -> Result<Heads, TchError> {
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
    pub(crate) fn attend(
        &self,
        heads: &Heads,
        span: &Span,
        cache: &KvCache,
    ) -> Result<Tensor, TchError> {
        let (batch, _, tokens, _) = heads.queries.size4()?;
        let (keys, values) = cache.append(&span.append, &heads.keys, &heads.values)?;

        // The queries that share a key and value head stand below one another, so neither is
        // repeated.
        let group = self.heads / self.kv_heads * tokens;
        let grouped = heads
            .queries
            .f_reshape([batch, self.kv_heads, group, self.head_dim])?;
        let mask = span.mask.as_ref();
        let mixed = match self.fused {
            true => Tensor::f_scaled_dot_product_attention(
                &grouped, &keys, &values, mask, 0.0, false, self.scale, false,
            )?,
            false => self.plain(&grouped, &keys, &values, mask)?,
        };
        let mixed = mixed.f_reshape([batch, self.heads, tokens, self.head_dim])?;
        let mixed = mixed.f_transpose(1, 2)?;
        mixed.f_reshape([batch, tokens, self.heads * self.head_dim])
    }

    /// Attention in separate steps. The soft-cap comes before the mask; the softmax is taken in
    /// f32.
    fn plain(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let mut scores = queries.f_matmul(&keys.f_transpose(2, 3)?)?;
        scores = scores.f_mul_scalar_(self.scale)?;
        if let Some(cap) = self.softcap {
            scores = scores.f_div_scalar_(cap)?.f_tanh_()?.f_mul_scalar_(cap)?;
        }
        let mut scores = scores.f_to_kind(Kind::Float)?;
        if let Some(mask) = mask {
            scores = scores.f_add_(mask)?;
        }
        let weights = scores.f_softmax(-1, Kind::Float)?;
        weights.f_to_kind(queries.kind())?.f_matmul(values)
    }
}
