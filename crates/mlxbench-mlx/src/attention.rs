//! Grouped-query attention.

use mlx_rs::error::Result;
use mlx_rs::fast::{ScaledDotProductAttentionMask, scaled_dot_product_attention};
use mlx_rs::ops::softmax_axis;
use mlx_rs::{Array, Dtype};
use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, KeysValues, LayerNames};

use crate::cache::KvCache;
use crate::framework::Mlx;
use crate::fused::SoftCap;
use crate::linear::Linear;
use crate::weights::Weights;

/// Which of the entries read a token sees.
#[derive(Debug)]
pub enum Mask {
    /// All of them.
    None,
    /// Those that aren't later.
    Causal,
    /// As this additive mask says, of shape `[tokens, read]`, in the model's dtype.
    Additive(Array),
}

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    scale: f32,
    softcap: Option<SoftCap>,
    /// Three products: OpenBLAS has a fast path for small ones, which one over all would miss.
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

impl parts::Attention<Mlx> for Attention {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        attention: &AttentionSpec,
        hidden: usize,
    ) -> Result<Self> {
        let linear = |module, columns| weights.linear(names, &[module], columns, attention.bias);
        let KeysValues::Own = attention.keys_values;
        Ok(Self {
            heads: attention.heads as i32,
            kv_heads: attention.kv_heads as i32,
            head_dim: attention.head_dim as i32,
            scale: attention.scale() as f32,
            softcap: attention.softcap.map(SoftCap::new),
            q_proj: linear("self_attn.q_proj", hidden)?,
            k_proj: linear("self_attn.k_proj", hidden)?,
            v_proj: linear("self_attn.v_proj", hidden)?,
            o_proj: linear("self_attn.o_proj", attention.query_width())?,
        })
    }

    fn project(&self, x: &Array) -> Result<Heads<Array>> {
        let queries = self.split(&self.q_proj.forward(x)?)?;
        let [keys, values] = self.project_keys_values(x)?;
        Ok(Heads {
            queries,
            keys,
            values,
        })
    }

    fn project_keys_values(&self, x: &Array) -> Result<[Array; 2]> {
        Ok([
            self.split(&self.k_proj.forward(x)?)?,
            self.split(&self.v_proj.forward(x)?)?,
        ])
    }

    fn attend(&self, heads: &Heads<Array>, span: &Span<Mlx>, cache: &mut KvCache) -> Result<Array> {
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

    fn output(&self, mixed: &Array) -> Result<Array> {
        self.o_proj.forward(mixed)
    }
}

impl Attention {
    /// The heads of `x`, of shape `[batch, tokens, heads * head_dim]`.
    fn split(&self, x: &Array) -> Result<Array> {
        x.reshape(&[x.dim(0), x.dim(1), -1, self.head_dim])?
            .transpose_axes(&[0, 2, 1, 3])
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
