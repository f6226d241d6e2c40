//! The KV cache of one layer.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::zeros_dtype;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::cache::Append;
use mlxbench_core::gemma::parts::Cache;

use crate::framework::{Mlx, Place};

/// Keys and values.
#[derive(Debug)]
pub struct KvCache {
    keys: Array,
    values: Array,
}

impl Cache<Mlx> for KvCache {
    fn new(
        attention: &AttentionSpec,
        batch: usize,
        capacity: usize,
        place: &Place,
    ) -> Result<Self> {
        let shape = [batch, attention.kv_heads, capacity, attention.head_dim];
        let shape = shape.map(|n| n as i32);
        let buffer = || zeros_dtype(&shape, place.dtype);
        Ok(Self {
            keys: buffer()?,
            values: buffer()?,
        })
    }

    fn append(&mut self, append: &Append, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        // MLX updates a slice in place when nobody else holds the buffer.
        let write = |buffer: &mut Array, new: &Array| {
            if let Some(keep) = &append.keep {
                let kept = entries(buffer, keep)?;
                let front = 0..keep.len() as i32;
                buffer.try_index_mut((.., .., front, ..), kept)?;
            }
            let target = append.write.start as i32..append.write.end as i32;
            buffer.try_index_mut((.., .., target, ..), new)
        };
        write(&mut self.keys, keys)?;
        write(&mut self.values, values)?;
        self.read(append)
    }

    fn read(&self, append: &Append) -> Result<(Array, Array)> {
        let read = |buffer| entries(buffer, &append.read);
        Ok((read(&self.keys)?, read(&self.values)?))
    }
}

impl KvCache {
    /// The buffers, to be evaluated.
    pub(crate) fn arrays(&self) -> [&Array; 2] {
        [&self.keys, &self.values]
    }
}

/// The entries `range` of `buffer`.
fn entries(buffer: &Array, range: &std::ops::Range<usize>) -> Result<Array> {
    buffer.try_index((.., .., range.start as i32..range.end as i32, ..))
}
