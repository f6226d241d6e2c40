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
        self.keep(append)?;
        let write = |buffer: &Tensor, new: &Tensor| {
            let part = |start: usize, len: usize| buffer.f_narrow(2, start as i64, len as i64);
            part(append.write.start, append.write.len())?.f_copy_(new)?;
            part(append.read.start, append.read.len())
        };
        Ok((write(&self.keys, keys)?, write(&self.values, values)?))
    }
}

impl KvCache {
    /// Entries that there is room for, a row.
    pub(crate) fn capacity(&self) -> i64 {
        self.keys.size()[2]
    }

    /// Moves what `append` keeps to the front.
    pub(crate) fn keep(&mut self, append: &Append) -> Result<(), TchError> {
        let Some(keep) = &append.keep else {
            return Ok(());
        };
        for buffer in [&self.keys, &self.values] {
            let part = |start: usize| buffer.f_narrow(2, start as i64, keep.len() as i64);
            // A copy, since source and target may overlap.
            let kept = part(keep.start)?.f_detach_copy()?;
            part(0)?.f_copy_(&kept)?;
        }
        Ok(())
    }

    /// Writes `keys` and `values` of one token, of shape `[batch, kv_heads, 1, head_dim]`, at `slot`, of
    /// shape `[1]`, and gives the whole buffers.
    pub(crate) fn write(
        &mut self,
        slot: &Tensor,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor), TchError> {
        Ok((
            self.keys.f_index_copy_(2, slot, keys)?,
            self.values.f_index_copy_(2, slot, values)?,
        ))
    }

    /// Zeros, over what was there.
    pub(crate) fn clear(&mut self) -> Result<(), TchError> {
        for buffer in [&mut self.keys, &mut self.values] {
            let _ = buffer.f_zero_()?;
        }
        Ok(())
    }
}
