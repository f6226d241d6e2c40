//! The KV cache of one layer.

use candle_core::{Result, Tensor};
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::cache::Append;
use mlxbench_core::gemma::parts::Cache;

use crate::framework::{Candle, Place};

/// Keys and values.
#[derive(Debug)]
pub struct KvCache {
    keys: Tensor,
    values: Tensor,
}

impl Cache<Candle> for KvCache {
    fn new(
        attention: &AttentionSpec,
        batch: usize,
        capacity: usize,
        place: &Place,
    ) -> Result<Self> {
        let shape = (batch, attention.kv_heads, capacity, attention.head_dim);
        let buffer = || Tensor::zeros(shape, place.dtype, &place.device);
        Ok(Self {
            keys: buffer()?,
            values: buffer()?,
        })
    }

    /// What is written must be contiguous.
    fn append(
        &mut self,
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
            buffer.slice_set(new, 2, append.write.start)
        };
        write(&self.keys, keys)?;
        write(&self.values, values)?;
        self.read(append)
    }

    fn read(&self, append: &Append) -> Result<(Tensor, Tensor)> {
        let entries = |buffer: &Tensor| buffer.narrow(2, append.read.start, append.read.len());
        Ok((entries(&self.keys)?, entries(&self.values)?))
    }
}
