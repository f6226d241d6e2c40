//! From checkpoint tensors to MLX's, one at a time, so that weights are never held twice.

use mlx_rs::error::Result;
use mlx_rs::ops::indexing::TryIndexMutOp;
use mlx_rs::ops::zeros_dtype;
use mlx_rs::{Array, Dtype as MlxDtype};
use mlxbench_core::gemma::layer_tensor;
use mlxbench_core::{Checkpoint, Dtype};

/// MLX's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> MlxDtype {
    match dtype {
        Dtype::F32 => MlxDtype::Float32,
        Dtype::Bf16 => MlxDtype::Bfloat16,
        Dtype::F16 => MlxDtype::Float16,
    }
}

/// A checkpoint that is being loaded in a dtype, to the current stream's device.
pub(crate) struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) dtype: Dtype,
}

impl Weights<'_> {
    /// The weights of one layer.
    pub(crate) fn layer(&self, layer: usize) -> LayerWeights<'_> {
        LayerWeights {
            weights: self,
            layer,
        }
    }

    /// The rows of all tensors called `names`, one tensor below the other, in the model's dtype.
    /// Shape `[rows, columns]`.
    pub(crate) fn matrix(&self, names: &[impl AsRef<str>], columns: usize) -> Result<Array> {
        let elements = self.stacked(names, dtype(self.dtype))?;
        evaluated(elements.reshape(&[-1, columns as i32])?)
    }

    /// An RMSNorm's factor, `1 + weight` formed in f32, in the model's dtype. Shape `[width]`.
    pub(crate) fn norm(&self, name: &str) -> Result<Array> {
        let weight = self.stacked(&[name], MlxDtype::Float32)?;
        let factor = weight.add(Array::from_f32(1.0))?;
        evaluated(factor.as_dtype(dtype(self.dtype))?)
    }

    /// The elements of all tensors called `names`, behind one another, in `dtype`. They are copied
    /// in blocks, so that file, copy and conversion are never whole in memory together.
    fn stacked(&self, names: &[impl AsRef<str>], dtype: MlxDtype) -> Result<Array> {
        let tensors = || {
            names
                .iter()
                .map(|name| self.checkpoint.tensor(name.as_ref()))
        };
        let elements = |bytes: &[u8], dtype: Dtype| bytes.len() as i32 / dtype.size_bytes() as i32;
        let total = tensors()
            .map(|tensor| elements(tensor.bytes(), tensor.dtype()))
            .sum();
        let mut stacked = zeros_dtype(&[total], dtype)?;
        let mut start = 0;
        for tensor in tensors() {
            for block in tensor.blocks() {
                let count = elements(block, tensor.dtype());
                // SAFETY: the bytes are as many as shape and dtype ask for, and MLX copies them.
                let stored = unsafe {
                    let dtype = self::dtype(tensor.dtype());
                    Array::from_raw_data(block.as_ptr().cast(), &[count], dtype)
                };
                stacked.try_index_mut(start..start + count, stored.as_dtype(dtype)?)?;
                stacked.eval()?;
                start += count;
            }
        }
        Ok(stacked)
    }
}

/// The weights of one layer, by their names within it.
pub(crate) struct LayerWeights<'a> {
    weights: &'a Weights<'a>,
    layer: usize,
}

impl LayerWeights<'_> {
    /// [`Weights::matrix`] of this layer's tensors.
    pub(crate) fn matrix(&self, names: &[impl AsRef<str>], columns: usize) -> Result<Array> {
        let names = names
            .iter()
            .map(|name| layer_tensor(self.layer, name.as_ref()));
        self.weights.matrix(&names.collect::<Vec<_>>(), columns)
    }

    /// The tensors called `names` behind one another, of shape `[width]`.
    pub(crate) fn vector(&self, names: &[impl AsRef<str>]) -> Result<Array> {
        self.matrix(names, 1)?.reshape(&[-1])
    }

    /// [`Weights::norm`] of this layer's tensor.
    pub(crate) fn norm(&self, name: &str) -> Result<Array> {
        self.weights.norm(&layer_tensor(self.layer, name))
    }
}

/// `array`, computed now, so that what it is made from can go.
fn evaluated(array: Array) -> Result<Array> {
    array.eval()?;
    Ok(array)
}
