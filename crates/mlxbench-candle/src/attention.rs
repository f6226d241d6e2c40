//! Grouped-query attention.

use candle_core::{DType, DeviceLocation, Result, Tensor};
use candle_nn::ops::{sdpa, softmax_last_dim};
use mlxbench_core::gemma::parts::{self, Cache, Heads, Span};
use mlxbench_core::gemma::{AttentionSpec, KeysValues, LayerNames};

use crate::cache::KvCache;
use crate::framework::Candle;
use crate::linear::Linear;
use crate::weights::Weights;

/// Widths of heads that candle's fused attention takes on Metal.
const FUSED_WIDTHS: [usize; 6] = [32, 64, 96, 128, 256, 512];

/// Whether candle's fused attention does the work of `attention` for `tokens` new tokens: on Metal only.
/// Its kernel for a single token knows soft-caps by an approximate tanh, the other one knows none.
pub(crate) fn is_fused(
    location: DeviceLocation,
    dtype: DType,
    tokens: usize,
    attention: &AttentionSpec,
) -> bool {
    // Several queries in f32 at this width exceed a threadgroup's memory.
    let too_wide = tokens > 1 && dtype == DType::F32 && attention.head_dim == 512;
    matches!(location, DeviceLocation::Metal { .. })
        && attention.softcap.is_none()
        && FUSED_WIDTHS.contains(&attention.head_dim)
        && !too_wide
}

/// The attention of one layer.
#[derive(Debug)]
pub struct Attention {
    pub(crate) spec: AttentionSpec,
    /// Queries, and keys and values of the layer's own, in one product.
    pub(crate) qkv_proj: Linear,
    pub(crate) o_proj: Linear,
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
        Ok(Self {
            spec: attention.clone(),
            qkv_proj: linear(attention.keys_values.projections(), hidden)?,
            o_proj: linear(&["self_attn.o_proj"], attention.query_width())?,
        })
    }

    fn project(&self, x: &Tensor) -> Result<Heads<Tensor>> {
        self.heads_of(&self.qkv_proj.forward(x)?)
    }

    fn project_keys_values(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let queries = self.spec.query_width();
        let own = self.spec.projected_width() - queries;
        let kv = self.qkv_proj.rows(queries, own)?.forward(x)?;
        self.split_keys_values(&kv, 0)
    }

    fn attend(
        &self,
        heads: &Heads<Tensor>,
        span: &Span<Candle>,
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let (queries, mask) = (&heads.queries, span.mask.as_ref());
        let (location, tokens) = (queries.device().location(), queries.dim(2)?);
        let (keys, values) = match &heads.keys_values {
            Some([keys, values]) => cache.append(&span.append, keys, values)?,
            None => cache.read(&span.append)?,
        };
        let mixed = match is_fused(location, queries.dtype(), tokens, &self.spec) {
            true => self.fused(queries, &keys, &values, mask)?,
            false => self.plain_by(queries, &keys, &values, mask, softmax_last_dim)?,
        };
        mixed.transpose(1, 2)?.flatten_from(2)
    }

    fn output(&self, mixed: &Tensor) -> Result<Tensor> {
        self.o_proj.forward(mixed)
    }
}

impl Attention {
    /// The heads in the one product `qkv`.
    pub(crate) fn heads_of(&self, qkv: &Tensor) -> Result<Heads<Tensor>> {
        let keys_values = self.spec.keys_values.are_own();
        let keys_values = keys_values.then(|| self.split_keys_values(qkv, self.spec.heads));
        Ok(Heads {
            queries: self.split(qkv, 0, self.spec.heads)?,
            keys_values: keys_values.transpose()?,
        })
    }

    /// So many heads of `x`, of shape `[batch, tokens, heads * head_dim]`, from `first` on. They come
    /// out contiguous.
    pub(crate) fn split(&self, x: &Tensor, first: usize, heads: usize) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        x.reshape((batch, tokens, (), self.spec.head_dim))?
            .narrow(2, first, heads)?
            .transpose(1, 2)?
            .contiguous()
    }

    /// Keys and values in `x`, as [`Attention::split`] takes it, from the head `first` on.
    fn split_keys_values(&self, x: &Tensor, first: usize) -> Result<[Tensor; 2]> {
        let kv_heads = self.spec.kv_heads;
        let keys = self.split(x, first, kv_heads)?;
        let values = match self.spec.keys_values {
            KeysValues::OneProjection => keys.clone(),
            _ => self.split(x, first + kv_heads, kv_heads)?,
        };
        Ok([keys, values])
    }

    /// By candle's one kernel. A single token must see all that is read: the kernel takes no mask then.
    fn fused(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, heads, tokens, _) = queries.dims4()?;
        let shape = (batch, heads, tokens, keys.dim(2)?);
        let mask = mask.map(|mask| mask.broadcast_as(shape)).transpose()?;
        let scale = self.spec.scale() as f32;
        sdpa(queries, keys, values, mask.as_ref(), false, scale, 1.0)
    }

    /// By its formula, with the soft-cap before the mask. The softmax over the last axis is taken in f32: candle's
    /// rounds between its steps in 16 bits.
    pub(crate) fn plain_by(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
        softmax: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (batch, heads, tokens, head_dim) = queries.dims4()?;
        let kv_heads = self.spec.kv_heads;
        // The queries that share a key and value head stand below one another, so neither is
        // repeated.
        let grouped = (batch, kv_heads, heads / kv_heads * tokens, head_dim);
        // They are scaled rather than the scores, which are more; by the cap, too, which comes next.
        let scale = self.spec.scale() / self.spec.softcap.unwrap_or(1.0);
        let scores = (queries * scale)?.reshape(grouped)?.matmul(&keys.t()?)?;
        let scores = match self.spec.softcap {
            Some(cap) => (scores.tanh()? * cap)?,
            None => scores,
        };
        let grouped = scores.shape().clone();
        let mut scores = scores.to_dtype(DType::F32)?;
        if let Some(mask) = mask {
            scores = scores
                .reshape((batch, heads, tokens, ()))?
                .broadcast_add(mask)?;
        }
        let weights = softmax(&scores)?.to_dtype(queries.dtype())?;
        let mixed = weights.reshape(grouped)?.matmul(values)?;
        mixed.reshape((batch, heads, tokens, head_dim))
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    const METAL: DeviceLocation = DeviceLocation::Metal { gpu_id: 0 };

    fn spec(name: &str) -> AttentionSpec {
        let config = preset(name).unwrap().config();
        config.layers[0].attention.clone()
    }

    #[test]
    fn attention_is_fused_on_metal_alone() {
        let gemma_3 = spec("gemma-3-270m");
        for tokens in [1, 7] {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                assert!(is_fused(METAL, dtype, tokens, &gemma_3));
                for location in [DeviceLocation::Cpu, DeviceLocation::Cuda { gpu_id: 0 }] {
                    assert!(!is_fused(location, dtype, tokens, &gemma_3));
                }
            }
        }
    }

    #[test]
    fn soft_caps_and_unknown_widths_are_never_fused() {
        let gemma_2 = spec("gemma-2-2b");
        assert!(gemma_2.softcap.is_some());
        assert!(!is_fused(METAL, DType::BF16, 1, &gemma_2));
        let narrow = AttentionSpec {
            head_dim: 16,
            ..spec("gemma-3-270m")
        };
        assert!(!is_fused(METAL, DType::BF16, 1, &narrow));
    }

    #[test]
    fn the_widest_heads_are_fused_for_one_token_in_f32() {
        let wide = AttentionSpec {
            head_dim: 512,
            ..spec("gemma-3-270m")
        };
        assert!(is_fused(METAL, DType::F32, 1, &wide));
        assert!(!is_fused(METAL, DType::F32, 2, &wide));
        assert!(is_fused(METAL, DType::BF16, 2, &wide));
    }
}
