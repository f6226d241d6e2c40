//! Grouped-query attention.

use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, KeysValues, LayerNames};
use tch::{TchError, Tensor};

use crate::cache::KvCache;
use crate::flash::{self, Lengths};
use crate::forms;
use crate::framework::Torch;
use crate::linear::Linear;
use crate::weights::Weights;

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    pub(crate) heads: i64,
    kv_heads: i64,
    pub(crate) head_dim: i64,
    pub(crate) scale: f64,
    pub(crate) softcap: Option<f64>,
    keys_values: KeysValues,
    /// Queries, and keys and values of the layer's own, in one product.
    pub(crate) qkv_proj: Linear,
    pub(crate) o_proj: Linear,
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
    /// One token, whose place in the cache only the device knows.
    OnDevice(Entries),
}

/// The place of a token in a layer's cache, on the device.
#[derive(Debug)]
pub struct Entries {
    /// Where its keys and values go, of shape `[1]`.
    pub(crate) slot: Tensor,
    /// What it reads.
    pub(crate) read: Read,
}

/// What a token reads of a cache.
#[derive(Debug)]
pub(crate) enum Read {
    /// Exactly what it sees: a sequence for each row and key and value head.
    Exact(Lengths),
    /// The first `count` entries, of which `mask`, of shape `[1, count]` in f32, hides what it doesn't see.
    First { count: i64, mask: Tensor },
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
        Ok(Self {
            heads: attention.heads as i64,
            kv_heads: attention.kv_heads as i64,
            head_dim: attention.head_dim as i64,
            scale: attention.scale(),
            softcap: attention.softcap,
            keys_values: attention.keys_values,
            qkv_proj: linear(attention.keys_values.projections(), hidden)?,
            o_proj: linear(&["self_attn.o_proj"], attention.query_width())?,
        })
    }

    fn project(&self, x: &Tensor) -> Result<Heads<Tensor>, TchError> {
        self.heads_of(&self.qkv_proj.forward(x)?)
    }

    fn project_keys_values(&self, x: &Tensor) -> Result<[Tensor; 2], TchError> {
        let projections = self.keys_values.own_projections() as i64;
        let (queries, own) = (self.heads, projections * self.kv_heads);
        let rows = self
            .qkv_proj
            .rows(queries * self.head_dim, own * self.head_dim)?;
        self.split_keys_values(&rows.forward(x)?, 0)
    }

    fn attend(
        &self,
        heads: &Heads<Tensor>,
        span: &Span<Torch>,
        cache: &mut KvCache,
    ) -> Result<Tensor, TchError> {
        let (batch, _, tokens, _) = heads.queries.size4()?;
        let (queries, scale) = (&heads.queries, self.scale);
        let (keys, values) = match (&span.mask, &heads.keys_values) {
            (Form::OnDevice(entries), Some([keys, values])) => {
                cache.write(&entries.slot, keys, values)?
            }
            (Form::OnDevice(_), None) => cache.whole(),
            (_, Some([keys, values])) => cache.append(&span.append, keys, values)?,
            (_, None) => cache.read(&span.append)?,
        };
        let kv = [&keys, &values];
        let mixed = match &span.mask {
            Form::Grouped(mask) => forms::grouped(queries, kv, mask.as_ref(), scale)?,
            Form::Causal => forms::causal(queries, kv, scale)?,
            Form::Flash(window) => flash::causal(queries, kv, *window, scale)?,
            Form::Plain(mask) => self.plain(queries, kv, mask.as_ref())?,
            Form::OnDevice(Entries { read, .. }) => match read {
                Read::Exact(lengths) => self.within(queries, kv, lengths)?,
                Read::First { count, mask } => {
                    let (keys, values) =
                        (keys.f_narrow(2, 0, *count)?, values.f_narrow(2, 0, *count)?);
                    self.plain(queries, [&keys, &values], Some(mask))?
                }
            },
        };
        let mixed = mixed.f_transpose(1, 2)?;
        mixed.f_reshape([batch, tokens, self.heads * self.head_dim])
    }

    fn output(&self, mixed: &Tensor) -> Result<Tensor, TchError> {
        self.o_proj.forward(mixed)
    }
}

impl Attention {
    /// The heads in the one product `qkv`.
    pub(crate) fn heads_of(&self, qkv: &Tensor) -> Result<Heads<Tensor>, TchError> {
        let keys_values = self.keys_values.are_own();
        let keys_values = keys_values.then(|| self.split_keys_values(qkv, self.heads));
        Ok(Heads {
            queries: self.split(qkv, 0, self.heads)?,
            keys_values: keys_values.transpose()?,
        })
    }

    /// So many heads of `x`, of shape `[batch, tokens, heads * head_dim]`, from `first` on.
    pub(crate) fn split(&self, x: &Tensor, first: i64, heads: i64) -> Result<Tensor, TchError> {
        let (batch, tokens, _) = x.size3()?;
        x.f_view([batch, tokens, -1, self.head_dim])?
            .f_narrow(2, first, heads)?
            .f_transpose(1, 2)
    }

    /// Keys and values in `x`, as [`Attention::split`] takes it, from the head `first` on.
    fn split_keys_values(&self, x: &Tensor, first: i64) -> Result<[Tensor; 2], TchError> {
        let keys = self.split(x, first, self.kv_heads)?;
        let values = match self.keys_values {
            KeysValues::OneProjection => keys.shallow_clone(),
            _ => self.split(x, first + self.kv_heads, self.kv_heads)?,
        };
        Ok([keys, values])
    }

    fn plain(
        &self,
        queries: &Tensor,
        kv: [&Tensor; 2],
        mask: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        forms::plain(queries, kv, mask, self.scale, self.softcap)
    }

    /// Attention of one token of each row to its part of whole buffers.
    fn within(
        &self,
        queries: &Tensor,
        kv: [&Tensor; 2],
        lengths: &Lengths,
    ) -> Result<Tensor, TchError> {
        let grouped = queries.f_reshape([-1, self.heads / self.kv_heads, self.head_dim])?;
        let [keys, values] = kv.map(|buffer| buffer.f_view([-1, 1, self.head_dim]));
        let mixed = flash::lengths(&grouped, [&keys?, &values?], lengths, self.scale)?;
        mixed.f_reshape(queries.size())
    }
}
