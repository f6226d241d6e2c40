//! From checkpoint tensors to MLX's, one at a time, so that weights are never held twice.

use std::cell::Cell;

use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::indexing::TryIndexMutOp;
use mlx_rs::ops::zeros_dtype;
use mlx_rs::{Array, Dtype as MlxDtype};
use mlxbench_core::gemma::{LayerNames, NormSpec};
use mlxbench_core::{Checkpoint, Dtype, Placement};

use crate::linear::{Gathered, Linear, Weight};
use crate::quantised::{Quantised, Way};

/// MLX's name for `dtype`.
pub(crate) fn dtype(dtype: Dtype) -> MlxDtype {
    match dtype {
        Dtype::F32 => MlxDtype::Float32,
        Dtype::Bf16 => MlxDtype::Bfloat16,
        Dtype::F16 => MlxDtype::Float16,
    }
}

/// A checkpoint that is being loaded in a dtype, to the current stream's device.
#[derive(Debug)]
pub struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) dtype: Dtype,
    /// Whether the current stream is a GPU's.
    pub(crate) gpu: bool,
    /// Whether the table of per-layer embeddings stays on the CPU, whatever the device is.
    pub(crate) per_layer_on_cpu: bool,
    /// Whether the host waits for the GPU before it gathers there: by its source (`fence.cpp` of each backend, not
    /// tried) MLX's fences between streams do on CUDA, and on Metal they don't.
    pub(crate) host_waits: bool,
    /// How matrices are kept, where they are quantised.
    pub(crate) quantised: Option<Way>,
    layers_bytes: Cell<u64>,
    experts_bytes: Cell<u64>,
    others_bytes: Cell<u64>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        placement: &Placement,
        quantised: Option<Way>,
    ) -> Self {
        Self {
            checkpoint,
            dtype: placement.precision.compute(),
            gpu: placement.device.kind() != "cpu",
            per_layer_on_cpu: placement.device.keeps_per_layer_on_cpu(),
            host_waits: placement.device.keeps_per_layer_on_cpu()
                && placement.device.kind() == "cuda",
            quantised,
            layers_bytes: Cell::default(),
            experts_bytes: Cell::default(),
            others_bytes: Cell::default(),
        }
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
        match self.quantised {
            None => self.plain(names, columns).map(Weight::plain),
            Some(Way {
                scheme: Some(scheme),
                dtype,
            }) => {
                let quantised = Quantised::load(self.checkpoint, names, columns, scheme, dtype);
                quantised.map(Weight::Quantised)
            }
            Some(Way {
                scheme: None,
                dtype,
            }) => self.native(names, columns, dtype),
        }
    }

    /// The same as mlx-lm packed them, or left them: in one matrix where all are packed alike.
    fn native(&self, names: &[impl AsRef<str>], columns: usize, dtype: Dtype) -> Result<Weight> {
        let mut parts: Vec<Weight> = Vec::new();
        for name in names {
            let part = match self.checkpoint.packed(name.as_ref()).pop() {
                Some(packed) => Weight::Quantised(Quantised::packed(&packed, dtype)?),
                None => Weight::plain(self.plain(std::slice::from_ref(name), columns)?),
            };
            let joined = match (parts.last(), &part) {
                (Some(Weight::Quantised(above)), Weight::Quantised(below)) => above.above(below)?,
                _ => None,
            };
            if let Some(joined) = joined {
                parts.pop();
                parts.push(Weight::Quantised(joined));
            } else {
                parts.push(part);
            }
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Weight::Mixed(parts),
        })
    }

    /// The rows of all tensors called `names`, one tensor below the other, in the model's dtype.
    /// Shape `[rows, columns]`.
    fn plain(&self, names: &[impl AsRef<str>], columns: usize) -> Result<Array> {
        self.stacked(names, columns, dtype(self.dtype))
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
        let bias = bias.then(|| self.plain(&biases, 1)?.reshape(&[-1]));
        let (weight, bias) = (self.matrix(&weights, columns)?, bias.transpose()?);
        add(&self.layers_bytes, weight.bytes());
        add(&self.others_bytes, bias.as_ref().map_or(0, bytes));
        Ok(Linear::new(weight, bias))
    }

    /// An RMSNorm's factor, `scale * (offset + weight)` formed in f32, in the model's dtype, of shape `[width]`.
    /// `None` where there is no weight.
    pub(crate) fn norm(&self, spec: &NormSpec) -> Result<Option<Array>> {
        let Some(name) = &spec.weight else {
            return Ok(None);
        };
        let weight = self
            .stacked(&[name], 1, MlxDtype::Float32)?
            .reshape(&[-1])?;
        let [offset, scale] = [spec.offset, spec.scale].map(|x| Array::from_f32(x as f32));
        let factor = weight.add(offset)?.multiply(scale)?;
        let factor = evaluated(factor.as_dtype(dtype(self.dtype))?)?;
        add(&self.others_bytes, bytes(&factor));
        Ok(Some(factor))
    }

    /// All numbers of the tensor called `name`, in the model's dtype. Shape `[elements]`.
    pub(crate) fn vector(&self, name: &str) -> Result<Array> {
        let vector = self.plain(&[name], 1)?.reshape(&[-1])?;
        add(&self.others_bytes, bytes(&vector));
        Ok(vector)
    }

    /// The product with the matrix called `name` alone.
    pub(crate) fn product(&self, name: &str, columns: usize) -> Result<Linear> {
        let weight = self.matrix(&[name], columns)?;
        add(&self.layers_bytes, weight.bytes());
        Ok(Linear::new(weight, None))
    }

    /// The matrices of `count` experts in the tensor called `name`.
    pub(crate) fn experts(&self, name: &str, [count, columns]: [usize; 2]) -> Result<Gathered> {
        let parts = match self.quantised {
            Some(Way {
                scheme: None,
                dtype,
            }) => self.packed_parts(name, dtype)?,
            _ => Vec::new(),
        };
        let parts = match parts.is_empty() {
            true => vec![self.matrix(&[name], columns)?],
            false => parts,
        };
        let bytes = parts.iter().map(Weight::bytes).sum();
        add(&self.layers_bytes, bytes);
        add(&self.experts_bytes, bytes);
        let count = axis(count as u64)?;
        let parts = parts.into_iter().map(|part| Gathered::new(part, count));
        let mut parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Gathered::Beside(parts),
        })
    }

    /// What mlx-lm packed for the tensor called `name`, each for itself.
    fn packed_parts(&self, name: &str, dtype: Dtype) -> Result<Vec<Weight>> {
        let parts = self.checkpoint.packed(name);
        let parts = parts.iter().map(|packed| Quantised::packed(packed, dtype));
        parts.map(|part| part.map(Weight::Quantised)).collect()
    }

    /// The rows of all tensors called `names`, one tensor below the other, in `dtype`. They are copied
    /// in blocks, so that file, copy and conversion are never whole in memory together, and as rows:
    /// MLX counts along an axis in 32 bits, which the elements of a large table leave.
    fn stacked(&self, names: &[impl AsRef<str>], columns: usize, dtype: MlxDtype) -> Result<Array> {
        let names = || names.iter().map(AsRef::as_ref);
        let width = axis(columns as u64)?;
        let rows_of = |name| self.checkpoint.elements(name) as u64 / columns as u64;
        let total = names().map(rows_of).sum();
        let mut stacked = zeros_dtype(&[axis(total)?, width], dtype)?;
        let mut start = 0;
        for tensor in names().map(|name| self.checkpoint.tensor(name)) {
            for block in tensor.row_blocks(columns) {
                let end = start + axis(rows(block.len() as u64, tensor.dtype(), columns))?;
                // SAFETY: the bytes are as many as shape and dtype ask for, and MLX copies them.
                let stored = unsafe {
                    let dtype = self::dtype(tensor.dtype());
                    Array::from_raw_data(block.as_ptr().cast(), &[end - start, width], dtype)
                };
                stacked.try_index_mut(start..end, stored.as_dtype(dtype)?)?;
                stacked.eval()?;
                start = end;
            }
        }
        Ok(stacked)
    }
}

fn add(count: &Cell<u64>, bytes: u64) {
    count.set(count.get() + bytes);
}

/// Bytes of an array.
fn bytes(array: &Array) -> u64 {
    array.nbytes() as u64
}

/// How many rows of `columns` elements of `dtype` there are in `bytes` bytes.
pub(crate) fn rows(bytes: u64, dtype: Dtype, columns: usize) -> u64 {
    bytes / dtype.size_bytes() / columns as u64
}

/// `length` as MLX takes the length of an axis.
///
/// # Errors
/// When it has more than 31 bits.
pub(crate) fn axis(length: u64) -> Result<i32> {
    i32::try_from(length).map_err(|_| {
        Exception::custom(format!(
            "{length} rows or columns of a tensor: MLX counts no further than {}",
            i32::MAX
        ))
    })
}

/// `array`, computed now, so that what it is made from can go.
pub(crate) fn evaluated(array: Array) -> Result<Array> {
    array.eval()?;
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_two_gib_and_more_are_counted_in_rows() {
        // Gemma 2 2B's embeddings in f32: 2.36e9 bytes, beyond 32 bits with a sign.
        let gemma_2 = 256_000 * 2304 * 4;
        assert!(i32::try_from(gemma_2).is_err());
        assert_eq!(rows(gemma_2, Dtype::F32, 2304), 256_000);
        // 262,144 rows of 8960: more elements than 32 bits count.
        let table = 262_144 * 8960 * 2;
        assert_eq!(axis(rows(table, Dtype::Bf16, 8960)).unwrap(), 262_144);
        let message = axis(rows(table, Dtype::Bf16, 1))
            .unwrap_err()
            .what()
            .to_owned();
        assert!(message.contains("2348810240 rows"), "{message}");
    }
}
