//! The KV cache of one layer.

use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::cache::Append;
use tch::{Device, Kind, TchError, Tensor};

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
        dtype: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
        let buffer = || Tensor::f_zeros(shape.map(|n| n as i64), (dtype, device));
        Ok(Self {
            keys: buffer()?,
            values: buffer()?,
        })
    }

    /// Writes `keys` and `values`, of shape `[batch, kv_heads, tokens, head_dim]`, where `append`
    /// says, and gives views of the entries that attention reads.
    pub(crate) fn append(
        &self,
        append: &Append,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor), TchError> {
        let write = |buffer: &Tensor, new: &Tensor| {
            let part = |start: usize, len: usize| buffer.f_narrow(2, start as i64, len as i64);
            if let Some(keep) = &append.keep {
                // A copy, since source and target may overlap.
                let kept = part(keep.start, keep.len())?.f_detach_copy()?;
                part(0, keep.len())?.f_copy_(&kept)?;
            }
            part(append.write.start, append.write.len())?.f_copy_(new)?;
            part(append.read.start, append.read.len())
        };
        Ok((write(&self.keys, keys)?, write(&self.values, values)?))
    }
}
