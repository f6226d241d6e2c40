//! From checkpoint tensors to candle's, one at a time, so that weights are never held twice.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use mlxbench_core::checkpoint::Element;
use mlxbench_core::gemma::LayerNames;
use mlxbench_core::{Checkpoint, Dtype};

use crate::linear::Linear;

/// Candle's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
        Dtype::F16 => DType::F16,
    }
}

/// A checkpoint that is being loaded to a device in a dtype.
#[derive(Debug)]
pub struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) device: &'a Device,
    pub(crate) dtype: Dtype,
}

impl Weights<'_> {
    /// The rows of all tensors called `names`, one tensor below the other, in the model's dtype.
    /// Shape `[rows, columns]`.
    pub(crate) fn matrix(&self, names: &[impl AsRef<str>], columns: usize) -> Result<Tensor> {
        match self.dtype {
            Dtype::F32 => self.stack::<f32>(names, columns),
            Dtype::Bf16 => self.stack::<half::bf16>(names, columns),
            Dtype::F16 => self.stack::<half::f16>(names, columns),
        }
    }

    /// The outputs of all modules of a layer, one below the other in one product.
    pub(crate) fn linear(
        &self,
        names: LayerNames,
        modules: &[&str],
        columns: usize,
        bias: bool,
    ) -> Result<Linear> {
        let named = |part| {
            modules
                .iter()
                .map(move |m| names.tensor(&format!("{m}.{part}")))
        };
        let (weights, biases): (Vec<_>, Vec<_>) =
            (named("weight").collect(), named("bias").collect());
        let bias = bias.then(|| self.matrix(&biases, 1)?.flatten_all());
        Ok(Linear::new(
            self.matrix(&weights, columns)?,
            bias.transpose()?,
        ))
    }

    /// An RMSNorm's factor, `1 + weight` formed in f32, in the model's dtype. Shape `[width]`.
    pub(crate) fn norm(&self, name: &str) -> Result<Tensor> {
        let mut factor = self.checkpoint.tensor(name).to_vec::<f32>();
        factor.iter_mut().for_each(|weight| *weight += 1.0);
        let width = factor.len();
        Tensor::from_vec(factor, width, self.device)?.to_dtype(dtype(self.dtype))
    }

    fn stack<T: Element + WithDType>(
        &self,
        names: &[impl AsRef<str>],
        columns: usize,
    ) -> Result<Tensor> {
        let elements = match names {
            [name] => self.checkpoint.tensor(name.as_ref()).to_vec::<T>(),
            _ => names
                .iter()
                .flat_map(|name| self.checkpoint.tensor(name.as_ref()).to_vec::<T>())
                .collect(),
        };
        let rows = elements.len() / columns;
        Tensor::from_vec(elements, (rows, columns), self.device)
    }
}
