//! Grouped-query attention.

use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, KeysValues, LayerNames};
use tch::{Device, Kind, TchError, Tensor};

use crate::cache::KvCache;
use crate::framework::Torch;
use crate::linear::Linear;
use crate::weights::Weights;

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scale: f64,
    softcap: Option<f64>,
    fused: bool,
    /// Queries, keys and values in one product.
    qkv_proj: Linear,
    o_proj: Linear,
}

/// Whether libtorch's fused attention runs: it knows no soft-cap, and on MPS it was reported to be
/// wrong in 16 bits.
pub(crate) fn is_fused(attention: &AttentionSpec, device: Device) -> bool {
    attention.softcap.is_none() && device != Device::Mps
}

impl parts::Attention<Torch> for Attention {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        attention: &AttentionSpec,
        hidden: usize,
    ) -> Result<Self, TchError> {
        let linear =
            |modules: &[&str], columns| weights.linear(names, modules, columns, attention.bias);
        let KeysValues::Own = attention.keys_values;
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        Ok(Self {
            heads: attention.heads as i64,
            kv_heads: attention.kv_heads as i64,
            head_dim: attention.head_dim as i64,
            scale: attention.scale(),
            softcap: attention.softcap,
            fused: is_fused(attention, weights.device),
            qkv_proj: linear(&qkv, hidden)?,
            o_proj: linear(&["self_attn.o_proj"], attention.query_width())?,
        })
    }

    fn project(&self, x: &Tensor) -> Result<Heads<Tensor>, TchError> {
        let qkv = self.qkv_proj.forward(x)?;
        Ok(Heads {
            queries: self.split(&qkv, 0, self.heads)?,
            keys: self.split(&qkv, self.heads, self.kv_heads)?,
            values: self.split(&qkv, self.heads + self.kv_heads, self.kv_heads)?,
        })
    }

    fn project_keys_values(&self, x: &Tensor) -> Result<[Tensor; 2], TchError> {
        let (queries, both) = (
            self.heads * self.head_dim,
            2 * self.kv_heads * self.head_dim,
        );
        let kv = self.qkv_proj.rows(queries, both)?.forward(x)?;
        Ok([
            self.split(&kv, 0, self.kv_heads)?,
            self.split(&kv, self.kv_heads, self.kv_heads)?,
        ])
    }

    fn attend(
        &self,
        heads: &Heads<Tensor>,
        span: &Span<Torch>,
        cache: &mut KvCache,
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

    fn output(&self, mixed: &Tensor) -> Result<Tensor, TchError> {
        self.o_proj.forward(mixed)
    }
}

impl Attention {
    /// So many heads of `x`, of shape `[batch, tokens, heads * head_dim]`, from `first` on.
    fn split(&self, x: &Tensor, first: i64, heads: i64) -> Result<Tensor, TchError> {
        let (batch, tokens, _) = x.size3()?;
        x.f_view([batch, tokens, -1, self.head_dim])?
            .f_narrow(2, first, heads)?
            .f_transpose(1, 2)
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
