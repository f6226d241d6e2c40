//! The KV cache of one layer.

use std::ops::Range;

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
        for (buffer, new) in [(&self.keys, keys), (&self.values, values)] {
            entries(buffer, &append.write)?.f_copy_(new)?;
        }
        self.read(append)
    }

    fn read(&self, append: &Append) -> Result<(Tensor, Tensor), TchError> {
        let read = |buffer| entries(buffer, &append.read);
        Ok((read(&self.keys)?, read(&self.values)?))
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

    /// The whole buffers.
    pub(crate) fn whole(&self) -> (Tensor, Tensor) {
        (self.keys.shallow_clone(), self.values.shallow_clone())
    }

    /// Zeros, over what was there.
    pub(crate) fn clear(&mut self) -> Result<(), TchError> {
        for buffer in [&mut self.keys, &mut self.values] {
            let _ = buffer.f_zero_()?;
        }
        Ok(())
    }
}

/// The entries `range` of `buffer`.
fn entries(buffer: &Tensor, range: &Range<usize>) -> Result<Tensor, TchError> {
    buffer.f_narrow(2, range.start as i64, range.len() as i64)
}
