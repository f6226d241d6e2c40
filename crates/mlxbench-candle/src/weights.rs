//! From checkpoint tensors to candle's, one at a time, so that weights are never held twice.

use std::cell::Cell;

use candle_core::{DType, Device, Result, Tensor, WithDType};
use mlxbench_core::checkpoint::Element;
use mlxbench_core::gemma::{LayerNames, NormSpec};
use mlxbench_core::{Checkpoint, Dtype, Placement, Precision, WeightFormat};

use crate::gguf::Gguf;
use crate::linear::{Linear, Weight};
use crate::quantised::Quantised;

/// Candle's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::Bf16 => DType::BF16,
        Dtype::F16 => DType::F16,
    }
}

/// Bytes of a tensor.
pub(crate) fn bytes(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}

/// A checkpoint that is being loaded to a device in a precision.
#[derive(Debug)]
pub struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) device: &'a Device,
    precision: Precision,
    /// Whether the table of per-layer embeddings stays on the CPU, whatever the device is.
    pub(crate) per_layer_on_cpu: bool,
    /// Where the weights are taken as a GGUF file has them.
    gguf: Option<Gguf>,
    layers_bytes: Cell<u64>,
    experts_bytes: Cell<u64>,
    others_bytes: Cell<u64>,
}

impl<'a> Weights<'a> {
    /// # Errors
    /// When the precision takes weights as a GGUF file has them, and there is none.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        placement: &Placement,
    ) -> mlxbench_core::Result<Self> {
        let precision = placement.precision;
        let native = precision.weights() == WeightFormat::Native;
        Ok(Self {
            checkpoint,
            device,
            precision,
            per_layer_on_cpu: placement.device.keeps_per_layer_on_cpu(),
            gguf: native.then(|| Gguf::open(checkpoint)).transpose()?,
            layers_bytes: Cell::default(),
            experts_bytes: Cell::default(),
            others_bytes: Cell::default(),
        })
    }

    /// The model's dtype.
    pub(crate) fn dtype(&self) -> Dtype {
        self.precision.compute()
    }

    /// Whether matrices are kept as codes.
    pub(crate) fn are_quantised(&self) -> bool {
        self.precision.is_quantised()
    }

    /// Bytes of the matrices of layers that were loaded.
    pub(crate) fn layers_bytes(&self) -> u64 {
        self.layers_bytes.get()
    }

    /// Of those, bytes of experts.
    pub(crate) fn experts_bytes(&self) -> u64 {
        self.experts_bytes.get()
    }

    /// Bytes of the norms and biases that were loaded.
    pub(crate) fn others_bytes(&self) -> u64 {
        self.others_bytes.get()
    }

    /// The rows of all matrices called `names`, one below the other, as the precision keeps them.
    pub(crate) fn matrix(&self, names: &[impl AsRef<str>], columns: usize) -> Result<Weight> {
        self.matrix_on(names, columns, self.device)
    }

    /// The table called `name` of embeddings for each layer, where it is kept.
    pub(crate) fn per_layer_table(&self, name: &str, columns: usize) -> Result<Weight> {
        self.matrix_on(&[name], columns, self.per_layer_device())
    }

    /// Where that is.
    pub(crate) fn per_layer_device(&self) -> &'a Device {
        match self.per_layer_on_cpu {
            true => &Device::Cpu,
            false => self.device,
        }
    }

    fn matrix_on(
        &self,
        names: &[impl AsRef<str>],
        columns: usize,
        device: &Device,
    ) -> Result<Weight> {
        match self.precision.weights() {
            WeightFormat::Plain(_) => self.plain(names, columns, device).map(Weight::Plain),
            WeightFormat::Native => {
                let gguf = self.gguf.as_ref().expect("opened for this precision");
                let mut parts = gguf.matrices(names, columns, device)?;
                Ok(match parts.len() {
                    1 => Weight::Quantised(parts.remove(0)),
                    _ => Weight::Mixed(parts),
                })
            }
            WeightFormat::Quantised(scheme) => {
                let quantised = Quantised::load(self.checkpoint, names, scheme, columns, device);
                quantised.map(Weight::Quantised)
            }
        }
    }

    /// The rows of all tensors called `names`, one tensor below the other, in the model's dtype.
    /// Shape `[rows, columns]`.
    fn plain(&self, names: &[impl AsRef<str>], columns: usize, device: &Device) -> Result<Tensor> {
        match self.dtype() {
            Dtype::F32 => self.stack::<f32>(names, columns, device),
            Dtype::Bf16 => self.stack::<half::bf16>(names, columns, device),
            Dtype::F16 => self.stack::<half::f16>(names, columns, device),
        }
    }

    /// The product with the matrix called `name` alone.
    pub(crate) fn product(&self, name: &str, columns: usize) -> Result<Linear> {
        let weight = self.matrix(&[name], columns)?;
        add(&self.layers_bytes, weight.bytes());
        Ok(Linear::new(weight, None))
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
        let bias = bias.then(|| self.plain(&biases, 1, self.device)?.flatten_all());
        let (weight, bias) = (self.matrix(&weights, columns)?, bias.transpose()?);
        add(&self.layers_bytes, weight.bytes());
        add(&self.others_bytes, bias.as_ref().map_or(0, bytes));
        Ok(Linear::new(weight, bias))
    }

    /// An RMSNorm's factor, `scale * (offset + weight)` formed in f32, in the model's dtype. Shape `[width]`.
    pub(crate) fn norm(&self, spec: &NormSpec) -> Result<Tensor> {
        let mut factor = match &spec.weight {
            Some(name) => self.checkpoint.tensor(name).to_vec::<f32>(),
            None => vec![0.0; spec.width],
        };
        let (offset, scale) = (spec.offset as f32, spec.scale as f32);
        let formed = factor.iter_mut();
        formed.for_each(|weight| *weight = scale * (offset + *weight));
        let factor = Tensor::from_vec(factor, spec.width, self.device)?;
        let factor = factor.to_dtype(dtype(self.dtype()))?;
        if spec.weight.is_some() {
            add(&self.others_bytes, bytes(&factor));
        }
        Ok(factor)
    }

    /// The one number of the tensor called `name`, rounded to the model's dtype.
    pub(crate) fn number(&self, name: &str) -> Result<f64> {
        // Metal has no f64.
        let number = self.vector(name)?.to_dtype(DType::F32)?;
        number.squeeze(0)?.to_scalar::<f32>().map(f64::from)
    }

    /// All numbers of the tensor called `name`, in the model's dtype. Shape `[elements]`.
    pub(crate) fn vector(&self, name: &str) -> Result<Tensor> {
        let vector = self.plain(&[name], 1, self.device)?.flatten_all()?;
        add(&self.others_bytes, bytes(&vector));
        Ok(vector)
    }

    /// The products with the matrices of `count` experts in the tensor called `name`.
    pub(crate) fn experts(&self, name: &str, [count, columns]: [usize; 2]) -> Result<Vec<Linear>> {
        let weights: Vec<Weight> = match self.precision.weights() {
            WeightFormat::Quantised(scheme) => {
                let (checkpoint, shape) = (self.checkpoint, [count, columns]);
                let each = Quantised::load_each(checkpoint, name, scheme, shape, self.device)?;
                each.into_iter().map(Weight::Quantised).collect()
            }
            _ => {
                let all = self.plain(&[name], columns, self.device)?;
                let each = all.chunk(count, 0)?;
                each.into_iter().map(Weight::Plain).collect()
            }
        };
        let bytes = weights.iter().map(Weight::bytes).sum();
        add(&self.layers_bytes, bytes);
        add(&self.experts_bytes, bytes);
        let linear = |weight| Linear::new(weight, None);
        Ok(weights.into_iter().map(linear).collect())
    }

    /// [`Weights::plain`], read in blocks, so that file and copy are never whole in memory together.
    fn stack<T: Element + WithDType>(
        &self,
        names: &[impl AsRef<str>],
        columns: usize,
        device: &Device,
    ) -> Result<Tensor> {
        let names = names.iter().map(AsRef::as_ref);
        let elements = names.clone().map(|name| self.checkpoint.elements(name));
        let rows = elements.sum::<usize>() / columns;
        let mut stacked = Vec::with_capacity(rows * columns);
        for tensor in names.map(|name| self.checkpoint.tensor(name)) {
            tensor
                .row_vecs::<T>(columns)
                .for_each(|block| stacked.extend(block));
        }
        Tensor::from_vec(stacked, (rows, columns), device)
    }
}

fn add(count: &Cell<u64>, bytes: u64) {
    count.set(count.get() + bytes);
}
