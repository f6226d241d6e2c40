//! From checkpoint tensors to libtorch's, one at a time, so that weights are never held twice.

use std::cell::RefCell;

use mlxbench_core::gemma::{LayerNames, NormSpec, Storage};
use mlxbench_core::{Checkpoint, Dtype, Placement, Scheme};
use tch::{Device, Kind, TchError, Tensor};

use crate::linear::{self, Linear, Weight};
use crate::quantised::{self, Kernel, Quantised};

/// libtorch's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::Bf16 => Kind::BFloat16,
        Dtype::F16 => Kind::Half,
    }
}

/// A checkpoint that is being loaded to a device in a precision.
#[derive(Debug)]
pub struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) device: Device,
    /// Whether the table of per-layer embeddings stays on the CPU, whatever the device is.
    pub(crate) per_layer_on_cpu: bool,
    /// Of all that is no matrix, and of activations.
    pub(crate) dtype: Dtype,
    /// How matrices are quantised, where they are.
    pub(crate) scheme: Option<Scheme>,
    /// What was loaded.
    storage: RefCell<Storage>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, device: Device, placement: &Placement) -> Self {
        let precision = placement.precision;
        Self {
            checkpoint,
            device,
            per_layer_on_cpu: placement.device.keeps_per_layer_on_cpu(),
            dtype: precision.compute(),
            scheme: precision.scheme(),
            storage: RefCell::new(Storage::empty(precision.kv_cache(), quantised::ACTIVATIONS)),
        }
    }

    /// How all that was loaded is kept.
    pub(crate) fn storage(&self) -> Storage {
        self.storage.borrow().clone()
    }

    /// The table called `name`, of shape `[vocab_size, columns]`.
    pub(crate) fn table(&self, name: &str, columns: usize) -> Result<Weight, TchError> {
        let table = self.matrix(&[name], columns)?;
        self.storage.borrow_mut().tables_bytes += table.bytes();
        Ok(table)
    }

    /// The rows of all matrices called `names`, one matrix below the other. Shape `[rows, columns]`.
    fn matrix(&self, names: &[impl AsRef<str>], columns: usize) -> Result<Weight, TchError> {
        self.matrix_on(self.device, names, columns)
    }

    fn matrix_on(
        &self,
        device: Device,
        names: &[impl AsRef<str>],
        columns: usize,
    ) -> Result<Weight, TchError> {
        let Some(scheme) = self.scheme else {
            let elements = self.stacked(names, (dtype(self.dtype), device))?;
            return Ok(Weight::Plain(elements.f_view([-1, columns as i64])?));
        };
        // Tensors of one product are of one kind.
        let kept = scheme.of_tensor(names[0].as_ref());
        let names = || names.iter().map(AsRef::as_ref);
        let elements = names().map(|name| self.checkpoint.elements(name) as i64);
        let shape = [elements.sum::<i64>() / columns as i64, columns as i64];
        let place = (dtype(self.dtype), device);
        let kernel = Kernel::of(kept, place);
        let blocks = names().flat_map(|name| self.checkpoint.codes(name, scheme));
        Quantised::pack(kernel, blocks, shape, place).map(Weight::Quantised)
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
        let bias = bias.then(|| self.biases(&biases));
        let weight = self.matrix(&weights, columns)?;
        self.storage.borrow_mut().layers_bytes += weight.bytes();
        Ok(Linear::new(weight, bias.transpose()?))
    }

    fn biases(&self, names: &[String]) -> Result<Tensor, TchError> {
        let biases = self.stacked(names, (dtype(self.dtype), self.device))?;
        self.storage.borrow_mut().others_bytes += linear::bytes(&biases);
        Ok(biases)
    }

    /// An RMSNorm's factor, `scale * (offset + weight)` formed in f32, in the model's dtype, of shape `[width]`.
    /// `None` where there is no weight.
    pub(crate) fn norm(&self, spec: &NormSpec) -> Result<Option<Tensor>, TchError> {
        let Some(name) = &spec.weight else {
            return Ok(None);
        };
        let mut factor = self.stacked(&[name], (Kind::Float, self.device))?;
        let factor = factor
            .f_add_scalar_(spec.offset)?
            .f_mul_scalar_(spec.scale)?;
        let factor = factor.f_to_kind(dtype(self.dtype))?;
        self.storage.borrow_mut().others_bytes += linear::bytes(&factor);
        Ok(Some(factor))
    }

    /// All numbers of the tensor called `name`, in the model's dtype. Shape `[elements]`.
    pub(crate) fn vector(&self, name: &str) -> Result<Tensor, TchError> {
        self.biases(&[name.to_owned()])
    }

    /// The table of embeddings for each layer, where it is kept, of shape `[vocab_size, columns]`.
    pub(crate) fn per_layer_table(&self, name: &str, columns: usize) -> Result<Weight, TchError> {
        let device = match self.per_layer_on_cpu {
            true => Device::Cpu,
            false => self.device,
        };
        let table = self.matrix_on(device, &[name], columns)?;
        self.storage.borrow_mut().per_layer_bytes += table.bytes();
        Ok(table)
    }

    /// The product with the matrix called `name` alone.
    pub(crate) fn product(&self, name: &str, columns: usize) -> Result<Linear, TchError> {
        let weight = self.matrix(&[name], columns)?;
        self.storage.borrow_mut().layers_bytes += weight.bytes();
        Ok(Linear::new(weight, None))
    }

    /// The matrices of all experts in the tensor called `name`, one below the other.
    pub(crate) fn experts(&self, name: &str, columns: usize) -> Result<Linear, TchError> {
        let weight = self.matrix(&[name], columns)?;
        let mut storage = self.storage.borrow_mut();
        storage.layers_bytes += weight.bytes();
        storage.experts_bytes += weight.bytes();
        Ok(Linear::new(weight, None))
    }

    /// The elements of all tensors called `names`, behind one another, of a dtype on a device. They are copied
    /// in blocks, so that file, copy and conversion are never whole in memory together.
    fn stacked(
        &self,
        names: &[impl AsRef<str>],
        place: (Kind, Device),
    ) -> Result<Tensor, TchError> {
        let names = || names.iter().map(AsRef::as_ref);
        let total: i64 = names()
            .map(|name| self.checkpoint.elements(name) as i64)
            .sum();
        let stacked = Tensor::f_empty([total], place)?;
        let mut start = 0;
        for tensor in names().map(|name| self.checkpoint.tensor(name)) {
            for block in tensor.blocks() {
                let count = elements(&block, tensor.dtype());
                let stored = Tensor::f_from_data_size(&block, &[count], dtype(tensor.dtype()))?;
                stacked.f_narrow(0, start, count)?.f_copy_(&stored)?;
                start += count;
            }
        }
        Ok(stacked)
    }
}

/// How many numbers of `dtype` they are.
fn elements(bytes: &[u8], dtype: Dtype) -> i64 {
    bytes.len() as i64 / dtype.size_bytes() as i64
}
