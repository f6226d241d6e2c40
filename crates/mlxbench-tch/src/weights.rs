//! From checkpoint tensors to libtorch's, one at a time, so that weights are never held twice.

use mlxbench_core::gemma::LayerNames;
use mlxbench_core::{Checkpoint, Dtype};
use tch::{Device, Kind, TchError, Tensor};

use crate::linear::Linear;

/// libtorch's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::Bf16 => Kind::BFloat16,
        Dtype::F16 => Kind::Half,
    }
}

/// A checkpoint that is being loaded to a device in a dtype.
#[derive(Debug)]
pub struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) device: Device,
    pub(crate) dtype: Dtype,
}

impl Weights<'_> {
    /// The rows of all tensors called `names`, one tensor below the other, in the model's dtype.
    /// Shape `[rows, columns]`.
    pub(crate) fn matrix(
        &self,
        names: &[impl AsRef<str>],
        columns: usize,
    ) -> Result<Tensor, TchError> {
        let elements = self.stacked(names, dtype(self.dtype))?;
        elements.f_view([-1, columns as i64])
    }

    /// The outputs of all modules of a layer, one below the other in one product.
    pub(crate) fn linear(
        &self,
        names: LayerNames,
        modules: &[&str],
        columns: usize,
        bias: bool,
    ) -> Result<Linear, TchError> {
        let named = |part| {
            modules
                .iter()
                .map(move |m| names.tensor(&format!("{m}.{part}")))
        };
        let (weights, biases): (Vec<_>, Vec<_>) =
            (named("weight").collect(), named("bias").collect());
        let bias = bias.then(|| self.matrix(&biases, 1)?.f_view([-1]));
        Ok(Linear::new(
            self.matrix(&weights, columns)?,
            bias.transpose()?,
        ))
    }

    /// An RMSNorm's factor, `1 + weight` formed in f32, in the model's dtype. Shape `[width]`.
    pub(crate) fn norm(&self, name: &str) -> Result<Tensor, TchError> {
        let factor = self.stacked(&[name], Kind::Float)?.f_add_scalar_(1.0)?;
        factor.f_to_kind(dtype(self.dtype))
    }

    /// The elements of all tensors called `names`, behind one another, in `dtype`. They are copied
    /// in blocks, so that file, copy and conversion are never whole in memory together.
    fn stacked(&self, names: &[impl AsRef<str>], dtype: Kind) -> Result<Tensor, TchError> {
        let tensors = || {
            names
                .iter()
                .map(|name| self.checkpoint.tensor(name.as_ref()))
        };
        let elements = |bytes: &[u8], dtype: Dtype| bytes.len() as i64 / dtype.size_bytes() as i64;
        let total: i64 = tensors()
            .map(|tensor| elements(tensor.bytes(), tensor.dtype()))
            .sum();
        let stacked = Tensor::f_empty([total], (dtype, self.device))?;
        let mut start = 0;
        for tensor in tensors() {
            for block in tensor.blocks() {
                let count = elements(block, tensor.dtype());
                let stored =
                    Tensor::f_from_data_size(block, &[count], self::dtype(tensor.dtype()))?;
                stacked.f_narrow(0, start, count)?.f_copy_(&stored)?;
                start += count;
            }
        }
        Ok(stacked)
    }
}
