//! The KV cache of one layer.

use mlx_rs::error::Result;
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::zeros_dtype;
use mlx_rs::{Array, Dtype};
use mlxbench_core::GemmaConfig;
use mlxbench_core::gemma::cache::Append;

/// Preallocated keys and values, each of shape `[batch, kv_heads, capacity, head_dim]`.
#[derive(Debug)]
pub(crate) struct KvCache {
    keys: Array,
    values: Array,
}

impl KvCache {
    pub(crate) fn new(
        config: &GemmaConfig,
        batch: usize,
        capacity: usize,
        dtype: Dtype,
    ) -> Result<Self> {
        let shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
        let shape = shape.map(|n| n as i32);
        Ok(Self {
            keys: zeros_dtype(&shape, dtype)?,
            values: zeros_dtype(&shape, dtype)?,
        })
    }

    /// Writes `keys` and `values`, of shape `[batch, kv_heads, tokens, head_dim]`, where `append`
    /// says, and gives views of the entries that attention reads.
    pub(crate) fn append(
        &mut self,
        append: &Append,
        keys: &Array,
        values: &Array,
    ) -> Result<(Array, Array)> {
        // MLX updates a slice in place when nobody else holds the buffer.
        let write = |buffer: &mut Array, new: &Array| {
            if let Some(keep) = &append.keep {
                let kept = entries(buffer, keep)?;
                let front = 0..keep.len() as i32;
                buffer.try_index_mut((.., .., front, ..), kept)?;
            }
            let target = append.write.start as i32..append.write.end as i32;
            buffer.try_index_mut((.., .., target, ..), new)?;
            entries(buffer, &append.read)
        };
        Ok((
            write(&mut self.keys, keys)?,
            write(&mut self.values, values)?,
        ))
    }

    /// The buffers, to be evaluated.
    pub(crate) fn arrays(&self) -> [&Array; 2] {
        [&self.keys, &self.values]
    }
}

/// The entries `range` of `buffer`.
fn entries(buffer: &Array, range: &std::ops::Range<usize>) -> Result<Array> {
    buffer.try_index((.., .., range.start as i32..range.end as i32, ..))
}
