//! The operations of the matrix by MLX's own: one line each. Inputs are made, and results read, on the CPU: only
//! the operation is the device's.

use mlx_rs::error::{Exception, Result};
use mlx_rs::fast::{ScaledDotProductAttentionMask, rms_norm, rope, scaled_dot_product_attention};
use mlx_rs::nn::gelu_approximate;
use mlx_rs::ops::indexing::{
    TryIndexMutOp, argmax_axis, scatter_add_single, scatter_single, topk_axis,
};
use mlx_rs::ops::{softmax_axis, sort_axis, tanh};
use mlx_rs::{Array, Dtype, Stream, with_stream};
use mlxbench_core::quantise::Codes;
use mlxbench_core::trial::{self, ElementType, Numbers, Program};

use crate::quantised::Quantised;
use crate::weights;

/// Runs `program` on `stream` in `element`, and brings what comes out to the host.
pub(crate) fn run(
    program: &Program,
    element: ElementType,
    stream: &Stream,
) -> Result<trial::Tensor> {
    let dtype = element.float().map_or(Dtype::Int64, weights::dtype);
    let place = Place { dtype, element };
    let output = with_stream(stream, || {
        let output = place.run(program)?;
        output.eval()?;
        Ok::<_, Exception>(output)
    })?;
    with_stream(&Stream::cpu(), || on_host(&output))
}

struct Place {
    dtype: Dtype,
    element: ElementType,
}

impl Place {
    fn run(&self, program: &Program) -> Result<Array> {
        match program {
            Program::Cumsum { x } => self.put(x)?.cumsum(-1, None, None),
            Program::Min { x } => self.put(x)?.min_axis(-1, false),
            Program::Max { x } => self.put(x)?.max_axis(-1, false),
            Program::Argmax { x } => argmax_axis(self.put(x)?, -1, false),
            Program::Sort { x } => sort_axis(self.put(x)?, -1),
            // The largest come in no order that is promised.
            Program::TopK { x, k } => {
                let largest = sort_axis(topk_axis(self.put(x)?, *k as i32, -1)?, -1)?;
                let descending: Vec<i32> = (0..*k as i32).rev().collect();
                largest.take_axis(Array::from_slice(&descending, &[*k as i32]), 1)
            }
            Program::Gather { x, index } => self.put(x)?.take_along_axis(indices(index)?, 1),
            Program::IndexCopy { x, index, source } => {
                let rows = self.put(source)?.expand_dims(1)?;
                scatter_single(self.put(x)?, indices(index)?, rows, 0)
            }
            Program::ScatterAdd { x, index, source } => {
                // MLX scatters slices along one axis: of a single number each, in all rows behind one another.
                let columns = x.columns() as i64;
                let places = index.as_ints().map_err(ours)?.iter().enumerate();
                let places =
                    places.map(|(at, place)| (at / index.columns()) as i64 * columns + place);
                let places = trial::Tensor::ints([index.len()], places.collect());
                let updates = self.put(source)?.reshape(&[-1, 1])?;
                let flat = self.put(x)?.reshape(&[-1])?;
                scatter_add_single(flat, indices(&places)?, updates, 0)?.reshape(&shape(x))
            }
            Program::SliceUpdate { x, source, start } => {
                let mut buffer = self.put(x)?;
                let rows = *start as i32..(start + source.rows()) as i32;
                buffer.try_index_mut((rows, ..), self.put(source)?)?;
                Ok(buffer)
            }
            Program::Embedding { table, ids } => self.put(table)?.take_axis(indices(ids)?, 0),
            Program::Product { x, weight } => {
                self.put(x)?.matmul(self.put(weight)?.swap_axes(-2, -1)?)
            }
            Program::QuantisedProduct { x, weight, scheme } => {
                let in_f32 = weight.as_floats().map_err(ours)?;
                let codes = Codes::of(*scheme, in_f32, weight.columns());
                let codes = codes.map_err(Exception::custom)?;
                let float = self.element.float();
                let float = float.ok_or_else(|| Exception::custom("codes times integers"))?;
                let matrix = with_stream(&Stream::cpu(), || Quantised::of(&codes, float))?;
                matrix.product(&self.put(x)?)
            }
            Program::Softmax { x } => softmax_axis(self.put(x)?, -1, true),
            Program::Gelu { x } => gelu_approximate(self.put(x)?),
            Program::SoftCap { x, cap } => {
                let cap = Array::from_f32(*cap).as_dtype(self.dtype)?;
                tanh(self.put(x)?.divide(&cap)?)?.multiply(&cap)
            }
            Program::RmsNorm { x, weight, eps } => {
                rms_norm(self.put(x)?, Some(&self.put(weight)?), *eps)
            }
            Program::Rope { x, start, theta } => {
                let head_dim = x.columns() as i32;
                rope(
                    self.put(x)?,
                    head_dim,
                    false,
                    *theta,
                    1.0,
                    *start as i32,
                    None,
                )
            }
            Program::Attention {
                queries,
                keys,
                values,
                scale,
                causal,
                mask,
            } => {
                let mask = mask.as_ref().map(seen).transpose()?;
                let mask = match (&mask, causal) {
                    (Some(mask), _) => Some(ScaledDotProductAttentionMask::Array(mask)),
                    (None, true) => Some(ScaledDotProductAttentionMask::Causal),
                    (None, false) => None,
                };
                let [queries, keys, values] = [queries, keys, values].map(|heads| self.put(heads));
                scaled_dot_product_attention(queries?, keys?, values?, *scale, mask, None)
            }
        }
    }

    /// Numbers in the dtype, in which those of cases are exact.
    fn put(&self, tensor: &trial::Tensor) -> Result<Array> {
        let shape = shape(tensor);
        let made = match &tensor.numbers {
            Numbers::Int(numbers) => Array::from_slice(numbers, &shape),
            Numbers::Float(numbers) => Array::from_slice(numbers, &shape),
        };
        on_the_cpu(|| made.as_dtype(self.dtype))
    }
}

fn indices(tensor: &trial::Tensor) -> Result<Array> {
    let numbers = tensor.as_ints().map_err(ours)?;
    let made = Array::from_slice(numbers, &shape(tensor));
    on_the_cpu(|| made.as_dtype(Dtype::Int32))
}

/// Whether a token sees an entry.
fn seen(mask: &trial::Tensor) -> Result<Array> {
    let numbers = mask.as_ints().map_err(ours)?;
    let made = Array::from_slice(numbers, &shape(mask));
    on_the_cpu(|| made.as_dtype(Dtype::Bool))
}

fn on_the_cpu(make: impl FnOnce() -> Result<Array>) -> Result<Array> {
    with_stream(&Stream::cpu(), || {
        let made = make()?;
        made.eval()?;
        Ok(made)
    })
}

fn shape(tensor: &trial::Tensor) -> Vec<i32> {
    tensor.shape.iter().map(|&axis| axis as i32).collect()
}

/// An error of ours where MLX's are.
fn ours(error: mlxbench_core::Error) -> Exception {
    Exception::custom(error.to_string())
}

fn on_host(output: &Array) -> Result<trial::Tensor> {
    let shape: Vec<usize> = output.shape().iter().map(|&axis| axis as usize).collect();
    let row_major = output.contiguous()?;
    let converted = |error: mlx_rs::error::ConversionError| Exception::custom(error.to_string());
    Ok(match output.dtype() {
        Dtype::Int64 | Dtype::Uint32 | Dtype::Int32 => {
            trial::Tensor::ints(shape, row_major.to_vec_cast().map_err(converted)?)
        }
        _ => trial::Tensor::floats(shape, row_major.to_vec_cast().map_err(converted)?),
    })
}
