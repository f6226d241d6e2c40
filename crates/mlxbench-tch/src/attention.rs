//! Grouped-query attention.

use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, KeysValues, LayerNames};
use tch::{TchError, Tensor};

use crate::cache::KvCache;
use crate::framework::Torch;
use crate::linear::Linear;
use crate::weights::Weights;
use crate::{flash, forms};

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scale: f64,
    softcap: Option<f64>,
    /// Queries, keys and values in one product.
    qkv_proj: Linear,
    o_proj: Linear,
}

/// How a pass computes attention: chosen in `Kernels`. Masks are of shape
/// `[group * tokens, read]`.
#[derive(Debug)]
pub enum Form {
    /// Fused, with a mask in the model's dtype, or none where all that is read is seen.
    Grouped(Option<Tensor>),
    /// Fused, with the causal flag: nothing was cached before, and no window hides any of it.
    Causal,
    /// Flash attention, with a window where it hides some of what is read.
    Flash(Option<usize>),
    /// In separate steps, with a mask in f32.
    Plain(Option<Tensor>),
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
        let (queries, scale) = (&heads.queries, self.scale);
        let (keys, values) = cache.append(&span.append, &heads.keys, &heads.values)?;
        let kv = [&keys, &values];
        let mixed = match &span.mask {
            Form::Grouped(mask) => forms::grouped(queries, kv, mask.as_ref(), scale)?,
            Form::Causal => forms::causal(queries, kv, scale)?,
            Form::Flash(window) => flash::causal(queries, kv, *window, scale)?,
            Form::Plain(mask) => forms::plain(queries, kv, mask.as_ref(), scale, self.softcap)?,
        };
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
}
