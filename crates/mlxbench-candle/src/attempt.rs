//! The operations of the matrix by candle's own: one line each. Inputs are made, and results read, on the CPU: only
//! the operation is the device's.

use candle_core::{D, DType, Device, Error, Result, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::ops::{rms_norm, sdpa, softmax_last_dim};
use candle_nn::rotary_emb::rope;
use half::{bf16, f16};
use mlxbench_core::quantise::Codes;
use mlxbench_core::trial::{self, ElementType, Numbers, Program};

use crate::quantised::Quantised;
use crate::weights;

/// Runs `program` on `device` in `element`, and brings what comes out to the host.
pub(crate) fn run(
    program: &Program,
    element: ElementType,
    device: &Device,
) -> Result<trial::Tensor> {
    let dtype = element.float().map_or(DType::I64, weights::dtype);
    let place = Place { dtype, device };
    on_host(&place.run(program)?)
}

struct Place<'a> {
    dtype: DType,
    device: &'a Device,
}

impl Place<'_> {
    fn run(&self, program: &Program) -> Result<Tensor> {
        match program {
            Program::Cumsum { x } => self.put(x)?.cumsum(D::Minus1),
            Program::Min { x } => self.put(x)?.min(D::Minus1),
            Program::Max { x } => self.put(x)?.max(D::Minus1),
            Program::Argmax { x } => self.put(x)?.argmax(D::Minus1),
            Program::Sort { x } => Ok(self.put(x)?.sort_last_dim(true)?.0),
            // candle has no top-k: its sampling sorts, too.
            Program::TopK { x, k } => self.put(x)?.sort_last_dim(false)?.0.narrow(1, 0, *k),
            Program::Gather { x, index } => self.put(x)?.gather(&self.indices(index)?, 1),
            Program::IndexCopy { x, index, source } => {
                // An index for every number of a row.
                let index = self.indices(index)?.unsqueeze(1)?;
                let index = index.broadcast_as(source.shape.as_slice())?.contiguous()?;
                self.put(x)?.scatter(&index, &self.put(source)?, 0)
            }
            Program::ScatterAdd { x, index, source } => {
                self.put(x)?
                    .scatter_add(&self.indices(index)?, &self.put(source)?, 1)
            }
            Program::SliceUpdate { x, source, start } => {
                let buffer = self.put(x)?;
                buffer.slice_set(&self.put(source)?, 0, *start)?;
                Ok(buffer)
            }
            Program::Embedding { table, ids } => self.put(table)?.embedding(&self.indices(ids)?),
            Program::Product { x, weight } => self
                .put(x)?
                .matmul(&self.put(weight)?.transpose(D::Minus2, D::Minus1)?),
            Program::QuantisedProduct { x, weight, scheme } => {
                let weight_f32 = weight.as_floats().map_err(Error::wrap)?;
                let codes = Codes::of(*scheme, weight_f32, weight.columns()).map_err(Error::msg)?;
                Quantised::of(&codes, self.device)?.product(&self.put(x)?)
            }
            Program::Softmax { x } => softmax_last_dim(&self.put(x)?),
            Program::Gelu { x } => self.put(x)?.gelu(),
            Program::SoftCap { x, cap } => {
                let cap = f64::from(*cap);
                (self.put(x)? / cap)?.tanh()? * cap
            }
            Program::RmsNorm { x, weight, eps } => {
                rms_norm(&self.put(x)?, &self.put(weight)?, *eps)
            }
            Program::Rope { x, start, theta } => {
                let (tokens, head_dim) = (x.shape[2], x.shape[3]);
                let tables = trial::rope_tables(*start, tokens, head_dim, *theta);
                let [cos, sin] = tables.map(|table| self.put(&table));
                rope(&self.put(x)?, &cos?, &sin?)
            }
            Program::Attention {
                queries,
                keys,
                values,
                scale,
                causal,
                mask,
            } => {
                let [q, k, v] = [queries, keys, values].map(|heads| self.put(heads));
                let (q, k, v) = (q?, k?, v?);
                let mask = mask.as_ref().map(|mask| self.additive(mask)).transpose()?;
                if !self.device.is_cpu() {
                    // Of the scores' shape.
                    let shape = (1, q.dim(1)?, q.dim(2)?, k.dim(2)?);
                    let mask = mask.map(|mask| mask.broadcast_as(shape)).transpose()?;
                    return sdpa(&q, &k, &v, mask.as_ref(), *causal, *scale, 1.0);
                }
                let mask = match (mask, causal) {
                    (Some(mask), _) => AttnMask::Mask(mask),
                    (None, true) => AttnMask::causal(),
                    (None, false) => AttnMask::None,
                };
                // It takes tokens before heads, and gives heads first.
                let turned = [q, k, v].map(|heads| heads.transpose(1, 2)?.contiguous());
                let [q, k, v] = turned;
                let (q, k, v) = (q?, k?, v?);
                match self.dtype {
                    DType::BF16 => flash_attn::<bf16>(&q, &k, &v, *scale, mask, None, None),
                    DType::F16 => flash_attn::<f16>(&q, &k, &v, *scale, mask, None, None),
                    _ => flash_attn::<f32>(&q, &k, &v, *scale, mask, None, None),
                }
            }
        }
    }

    /// Numbers in the dtype, in which those of cases are exact.
    fn put(&self, tensor: &trial::Tensor) -> Result<Tensor> {
        let shape = tensor.shape.as_slice();
        let made = match &tensor.numbers {
            Numbers::Int(numbers) => Tensor::from_slice(numbers, shape, &Device::Cpu)?,
            Numbers::Float(numbers) => Tensor::from_slice(numbers, shape, &Device::Cpu)?,
        };
        made.to_dtype(self.dtype)?.to_device(self.device)
    }

    /// candle's indices are u32.
    fn indices(&self, tensor: &trial::Tensor) -> Result<Tensor> {
        let numbers = tensor.as_ints().map_err(Error::wrap)?;
        let made = Tensor::from_slice(numbers, tensor.shape.as_slice(), &Device::Cpu)?;
        made.to_dtype(DType::U32)?.to_device(self.device)
    }

    /// 0 where the mask has 1, else minus infinity.
    fn additive(&self, mask: &trial::Tensor) -> Result<Tensor> {
        let seen = mask.as_ints().map_err(Error::wrap)?.iter();
        let added = seen.map(|&seen| if seen == 0 { f32::NEG_INFINITY } else { 0.0 });
        self.put(&trial::Tensor::floats(mask.shape.clone(), added.collect()))
    }
}

fn on_host(tensor: &Tensor) -> Result<trial::Tensor> {
    let shape = tensor.dims().to_vec();
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(match flat.dtype().is_int() {
        true => trial::Tensor::ints(shape, flat.to_dtype(DType::I64)?.to_vec1()?),
        false => trial::Tensor::floats(shape, flat.to_dtype(DType::F32)?.to_vec1()?),
    })
}
