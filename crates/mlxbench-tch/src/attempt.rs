//! The operations of the matrix by libtorch's own: one line each. Inputs are made, and results read, on the CPU:
//! only the operation is the device's.

use mlxbench_core::Scheme;
use mlxbench_core::quantise::Codes;
use mlxbench_core::trial::{self, ElementType, Numbers, Program};
use tch::{Device, Kind, TchError, Tensor};

use crate::quantised::{Kernel, Quantised, not_libtorchs};
use crate::weights;

/// Runs `program` on `device` in `element`, and brings what comes out to the host.
pub(crate) fn run(
    program: &Program,
    element: ElementType,
    device: Device,
) -> Result<trial::Tensor, TchError> {
    let kind = element.float().map_or(Kind::Int64, weights::dtype);
    let place = Place { kind, device };
    on_host(&place.run(program)?)
}

struct Place {
    kind: Kind,
    device: Device,
}

impl Place {
    fn run(&self, program: &Program) -> Result<Tensor, TchError> {
        match program {
            Program::Cumsum { x } => self.put(x)?.f_cumsum(-1, None),
            Program::Min { x } => Ok(self.put(x)?.f_min_dim(-1, false)?.0),
            Program::Max { x } => Ok(self.put(x)?.f_max_dim(-1, false)?.0),
            Program::Argmax { x } => self.put(x)?.f_argmax(-1, false),
            Program::Sort { x } => Ok(self.put(x)?.f_sort(-1, false)?.0),
            Program::TopK { x, k } => Ok(self.put(x)?.f_topk(*k as i64, -1, true, true)?.0),
            Program::Gather { x, index } => self.put(x)?.f_gather(1, &self.indices(index)?, false),
            Program::IndexCopy { x, index, source } => {
                self.put(x)?
                    .f_index_copy(0, &self.indices(index)?, &self.put(source)?)
            }
            Program::ScatterAdd { x, index, source } => {
                self.put(x)?
                    .f_scatter_add(1, &self.indices(index)?, &self.put(source)?)
            }
            Program::SliceUpdate { x, source, start } => {
                let buffer = self.put(x)?;
                let mut rows = buffer.f_narrow(0, *start as i64, source.rows() as i64)?;
                rows.f_copy_(&self.put(source)?)?;
                Ok(buffer)
            }
            Program::Embedding { table, ids } => {
                Tensor::f_embedding(&self.put(table)?, &self.indices(ids)?, -1, false, false)
            }
            Program::Product { x, weight } => {
                let (x, weight) = (self.put(x)?, self.put(weight)?);
                match x.dim() {
                    2 => x.f_linear(&weight, None::<&Tensor>),
                    _ => x.f_bmm(&weight.f_transpose(1, 2)?),
                }
            }
            Program::QuantisedProduct { x, weight, scheme } => {
                let in_f32 = weight.as_floats().map_err(not_libtorchs)?;
                let codes = Codes::of(*scheme, in_f32, weight.columns()).map_err(not_libtorchs)?;
                let shape = [weight.rows() as i64, weight.columns() as i64];
                let (kernel, codes) = (self.own_kernel(*scheme), [Ok(codes)].into_iter());
                let place = (self.kind, self.device);
                Quantised::pack(kernel, codes, shape, place)?.product(&self.put(x)?)
            }
            Program::Softmax { x } => self.put(x)?.f_softmax(-1, None),
            Program::Gelu { x } => self.put(x)?.f_gelu("tanh"),
            Program::SoftCap { x, cap } => {
                let cap = f64::from(*cap);
                self.put(x)?.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)
            }
            Program::RmsNorm { x, weight, eps } => {
                let (x, weight) = (self.put(x)?, self.put(weight)?);
                x.f_rms_norm(weight.size(), Some(&weight), f64::from(*eps))
            }
            Program::Rope { x, start, theta } => {
                let (tokens, head_dim) = (x.shape[2], x.shape[3]);
                let tables = trial::rope_tables(*start, tokens, head_dim, *theta);
                let [cos, sin] = tables.map(|table| self.put(&table));
                let (cos, sin) = (cos?, sin?);
                let whole = |first: &Tensor, second: &Tensor| Tensor::f_cat(&[first, second], -1);
                let (cos, sin) = (whole(&cos, &cos)?, whole(&sin.f_neg()?, &sin)?);
                let x = self.put(x)?;
                let swapped = x.f_roll([head_dim as i64 / 2], [3])?;
                x.f_mul(&cos)?.f_addcmul(&swapped, &sin)
            }
            Program::Attention {
                queries,
                keys,
                values,
                scale,
                causal,
                mask,
            } => {
                let mask = mask.as_ref().map(|mask| self.seen(mask)).transpose()?;
                Tensor::f_scaled_dot_product_attention(
                    &self.put(queries)?,
                    &self.put(keys)?,
                    &self.put(values)?,
                    mask.as_ref(),
                    0.0,
                    *causal,
                    f64::from(*scale),
                    keys.shape[1] != queries.shape[1],
                )
            }
        }
    }

    /// libtorch's own kernel, also where the adapter prefers to dequantise.
    fn own_kernel(&self, scheme: Scheme) -> Kernel {
        match (scheme, self.device) {
            (Scheme::Q8, _) => Kernel::Int8Pack,
            (Scheme::Q4, Device::Cpu) => Kernel::Int4PackForCpu,
            (Scheme::Q4, _) => Kernel::Int4Pack,
        }
    }

    /// Numbers in the dtype, in which those of cases are exact.
    fn put(&self, tensor: &trial::Tensor) -> Result<Tensor, TchError> {
        let made = match &tensor.numbers {
            Numbers::Int(numbers) => Tensor::f_from_slice(numbers)?,
            Numbers::Float(numbers) => Tensor::f_from_slice(numbers)?,
        };
        made.f_view(shape(tensor).as_slice())?
            .f_to_kind(self.kind)?
            .f_to_device(self.device)
    }

    fn indices(&self, tensor: &trial::Tensor) -> Result<Tensor, TchError> {
        let made = Tensor::f_from_slice(tensor.as_ints().map_err(not_libtorchs)?)?;
        made.f_view(shape(tensor).as_slice())?
            .f_to_device(self.device)
    }

    /// Whether a token sees an entry.
    fn seen(&self, mask: &trial::Tensor) -> Result<Tensor, TchError> {
        self.indices(mask)?.f_to_kind(Kind::Bool)
    }
}

fn shape(tensor: &trial::Tensor) -> Vec<i64> {
    tensor.shape.iter().map(|&axis| axis as i64).collect()
}

fn on_host(tensor: &Tensor) -> Result<trial::Tensor, TchError> {
    let shape: Vec<usize> = tensor.size().iter().map(|&axis| axis as usize).collect();
    let flat = tensor.f_to_device(Device::Cpu)?.f_reshape([-1])?;
    Ok(match flat.kind() {
        Kind::Int64 => trial::Tensor::ints(shape, Vec::try_from(&flat)?),
        _ => trial::Tensor::floats(shape, Vec::try_from(&flat.f_to_kind(Kind::Float)?)?),
    })
}
