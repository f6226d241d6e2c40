//! From checkpoint tensors to candle's, one at a time, so that weights are never held twice.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use mlxbench_core::checkpoint::Element;
use mlxbench_core::gemma::layer_tensor;
use mlxbench_core::{Checkpoint, Dtype};

/// Candle's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
        Dtype::F16 => DType::F16,
    }
}

/// A checkpoint that is being loaded to a device in a dtype.
pub(crate) struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) device: &'a Device,
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
    pub(crate) fn matrix(&self, names: &[&str], columns: usize) -> Result<Tensor> {
        match self.dtype {
            Dtype::F32 => self.stack::<f32>(names, columns),
            Dtype::Bf16 => self.stack::<half::bf16>(names, columns),
            Dtype::F16 => self.stack::<half::f16>(names, columns),
        }
    }

    /// An RMSNorm's factor, `1 + weight` in f32, of shape `[width]`.
    pub(crate) fn norm(&self, name: &str) -> Result<Tensor> {
        let mut factor = self.checkpoint.tensor(name).to_vec::<f32>();
        factor.iter_mut().for_each(|weight| *weight += 1.0);
        let width = factor.len();
        Tensor::from_vec(factor, width, self.device)
    }

    fn stack<T: Element + WithDType>(&self, names: &[&str], columns: usize) -> Result<Tensor> {
        let elements = match names {
            [name] => self.checkpoint.tensor(name).to_vec::<T>(),
            _ => names
                .iter()
                .flat_map(|name| self.checkpoint.tensor(name).to_vec::<T>())
                .collect(),
        };
        let rows = elements.len() / columns;
        Tensor::from_vec(elements, (rows, columns), self.device)
    }
}

/// The weights of one layer, by their names within it.
pub(crate) struct LayerWeights<'a> {
    weights: &'a Weights<'a>,
    layer: usize,
}

impl LayerWeights<'_> {
    /// [`Weights::matrix`] of this layer's tensors.
    pub(crate) fn matrix(&self, names: &[&str], columns: usize) -> Result<Tensor> {
        let names: Vec<String> = names
            .iter()
            .map(|name| layer_tensor(self.layer, name))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.weights.matrix(&names, columns)
    }

    /// The tensors called `names` behind one another, of shape `[width]`.
    pub(crate) fn vector(&self, names: &[&str]) -> Result<Tensor> {
        self.matrix(names, 1)?.flatten_all()
    }

    /// [`Weights::norm`] of this layer's tensor.
    pub(crate) fn norm(&self, name: &str) -> Result<Tensor> {
        self.weights.norm(&layer_tensor(self.layer, name))
    }
}
