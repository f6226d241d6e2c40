//! Grouped-query attention.

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, KeysValues, LayerNames};

use crate::cache::KvCache;
use crate::framework::Candle;
use crate::linear::Linear;
use crate::weights::Weights;

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f64,
    softcap: Option<f64>,
    /// Queries, keys and values in one product.
    qkv_proj: Linear,
    o_proj: Linear,
}

impl parts::Attention<Candle> for Attention {
    fn load(
        weights: &Weights<'_>,
        names: LayerNames,
        attention: &AttentionSpec,
        hidden: usize,
    ) -> Result<Self> {
        let linear =
            |modules: &[&str], columns| weights.linear(names, modules, columns, attention.bias);
        let KeysValues::Own = attention.keys_values;
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        Ok(Self {
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            scale: attention.scale(),
            softcap: attention.softcap,
            qkv_proj: linear(&qkv, hidden)?,
            o_proj: linear(&["self_attn.o_proj"], attention.query_width())?,
        })
    }

    fn project(&self, x: &Tensor) -> Result<Heads<Tensor>> {
        let qkv = self.qkv_proj.forward(x)?;
        Ok(Heads {
            queries: self.split(&qkv, 0, self.heads)?,
            keys: self.split(&qkv, self.heads, self.kv_heads)?,
            values: self.split(&qkv, self.heads + self.kv_heads, self.kv_heads)?,
        })
    }

    fn project_keys_values(&self, x: &Tensor) -> Result<[Tensor; 2]> {
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
        span: &Span<Candle>,
        cache: &mut KvCache,
    ) -> Result<Tensor> {
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

    fn output(&self, mixed: &Tensor) -> Result<Tensor> {
        self.o_proj.forward(mixed)
    }
}

impl Attention {
    /// So many heads of `x`, of shape `[batch, tokens, heads * head_dim]`, from `first` on. They come
    /// out contiguous.
    fn split(&self, x: &Tensor, first: usize, heads: usize) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        x.narrow(2, first * self.head_dim, heads * self.head_dim)?
            .reshape((batch, tokens, heads, self.head_dim))?
            .transpose(1, 2)?
            .contiguous()
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
