//! The KV cache of one layer.

use candle_core::{DType, Device, Result, Tensor};
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::cache::Append;

/// Preallocated keys and values, each of shape `[batch, kv_heads, capacity, head_dim]`.
#[derive(Debug)]
pub(crate) struct KvCache {
    keys: Tensor,
    values: Tensor,
}

impl KvCache {
    pub(crate) fn new(
        config: &GemmaConfig,
        batch: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = (batch, config.num_key_value_heads, capacity, config.head_dim);
        let buffer = || Tensor::zeros(shape, dtype, device);
        Ok(Self {
            keys: buffer()?,
            values: buffer()?,
        })
    }

    /// Writes `keys` and `values`, of shape `[batch, kv_heads, tokens, head_dim]` and contiguous,
    /// where `append` says, and gives views of the entries that attention reads.
    pub(crate) fn append(
        &self,
        append: &Append,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let write = |buffer: &Tensor, new: &Tensor| {
            if let Some(keep) = &append.keep {
                // A copy, since source and target may overlap.
                let kept = buffer
                    .narrow(2, keep.start, keep.len())?
                    .force_contiguous()?;
                buffer.slice_set(&kept, 2, 0)?;
            }
            buffer.slice_set(new, 2, append.write.start)?;
            buffer.narrow(2, append.read.start, append.read.len())
        };
        Ok((write(&self.keys, keys)?, write(&self.values, values)?))
    }
}
