//! The KV cache of one layer.

use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::cache::Append;
use mlxbench_core::gemma::parts::Cache;
use tch::{TchError, Tensor};

use crate::framework::{Place, Torch};

/// Keys and values.
#[derive(Debug)]
pub struct KvCache {
    keys: Tensor,
    values: Tensor,
}

impl Cache<Torch> for KvCache {
    fn new(
        attention: &AttentionSpec,
        batch: usize,
        capacity: usize,
        place: &Place,
    ) -> Result<Self, TchError> {
        let shape = [batch, attention.kv_heads, capacity, attention.head_dim];
        let shape = shape.map(|n| n as i64);
        let buffer = || Tensor::f_zeros(shape, (place.dtype, place.device));
        Ok(Self {
            keys: buffer()?,
            values: buffer()?,
        })
    }

    fn append(
        &mut self,
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
