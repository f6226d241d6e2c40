//! Products with a weight matrix.

use candle_core::{DType, Device, Result, Tensor, utils};
use rayon::prelude::*;

use crate::quantised::Quantised;
use crate::train;
use crate::weights::bytes;

/// Whether a single row is multiplied by blocks of a matrix's rows, one a thread. gemm does so on one
/// thread, which can't read as fast as the memory is. In bf16, candle widens all of a matrix to multiply by
/// a part of it.
pub(crate) fn splits_rows(device: &Device, dtype: DType) -> bool {
    let blas = utils::has_accelerate() || utils::has_mkl();
    device.is_cpu() && dtype != DType::BF16 && !blas && rayon::current_num_threads() > 1
}

/// A matrix of weights. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) enum Weight {
    /// Shape `[out_features, in_features]`, in the model's dtype.
    Plain(Tensor),
    Quantised(Quantised),
    /// Matrices below one another, in blocks of different kinds.
    Mixed(Vec<Quantised>),
}

impl Weight {
    /// So many of its rows, from `first` on; the weights are shared.
    fn rows(&self, first: usize, count: usize) -> Result<Self> {
        match self {
            Self::Plain(weight) => weight.narrow(0, first, count).map(Self::Plain),
            Self::Quantised(weight) => Ok(Self::Quantised(weight.rows(first, count))),
            Self::Mixed(parts) => {
                let mut start = 0;
                let mut wanted = Vec::new();
                for part in parts {
                    let end = start + part.len();
                    let (from, to) = (first.max(start), (first + count).min(end));
                    if from < to {
                        wanted.push(part.rows(from - start, to - from));
                    }
                    start = end;
                }
                Ok(Self::Mixed(wanted))
            }
        }
    }

    /// The rows `ids`, of shape `[tokens]`, in `dtype`, the model's. Shape `[tokens, in_features]`.
    pub(crate) fn lookup(&self, ids: &Tensor, dtype: DType) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => weight.index_select(ids, 0),
            Self::Quantised(weight) => weight.lookup(ids, dtype),
            Self::Mixed(_) => candle_core::bail!("a table is one matrix"),
        }
    }

    /// All of it as plain numbers of `dtype`, the model's. Shape `[out_features, in_features]`.
    pub(crate) fn dequantised(&self, dtype: DType) -> Result<Tensor> {
        match self {
            Self::Plain(weight) => Ok(weight.clone()),
            Self::Quantised(weight) => weight.dequantised(dtype),
            Self::Mixed(parts) => {
                let parts = parts.iter().map(|part| part.dequantised(dtype));
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
            }
        }
    }

    /// Bytes of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Plain(weight) => bytes(weight),
            Self::Quantised(weight) => weight.bytes(),
            Self::Mixed(parts) => parts.iter().map(Quantised::bytes).sum(),
        }
    }
}

/// `x W^T + b`, with the weights as Hugging Face stores them.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    /// Shape `[out_features]`.
    bias: Option<Tensor>,
}

/// How a matrix multiplies: [`Linear::forward`] or [`Linear::with_gradient`].
pub(crate) type Multiply = fn(&Linear, &Tensor) -> Result<Tensor>;

impl Linear {
    pub(crate) fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// So many of its outputs, from `first` on; the weights are shared.
    pub(crate) fn rows(&self, first: usize, count: usize) -> Result<Self> {
        let rows = |tensor: &Tensor| tensor.narrow(0, first, count);
        Ok(Self {
            weight: self.weight.rows(first, count)?,
            bias: self.bias.as_ref().map(rows).transpose()?,
        })
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let x = x.reshape((batch * tokens, width))?;
        let y = match &self.weight {
            Weight::Plain(weight) => product(weight, &x)?,
            Weight::Quantised(weight) => weight.product(&x)?,
            Weight::Mixed(parts) => {
                let products = parts.iter().map(|part| part.product(&x));
                Tensor::cat(&products.collect::<Result<Vec<_>>>()?, 1)?
            }
        };
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape((batch, tokens, ()))
    }
}

impl Linear {
    /// [`Linear::forward`], through which the gradient of `x` passes. Activations keep their precision beside
    /// quantised weights, too.
    pub(crate) fn with_gradient(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let y = train::product(&self.weight, &x.reshape((batch * tokens, width))?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape((batch, tokens, ()))
    }
}

/// `x W^T` for `x` of shape `[rows, in_features]`.
fn product(weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    if x.dim(0)? > 1 || !splits_rows(x.device(), x.dtype()) {
        return x.matmul(&weight.t()?);
    }
    let out = weight.dim(0)?;
    let block = out.div_ceil(rayon::current_num_threads());
    let starts: Vec<usize> = (0..out).step_by(block).collect();
    let part = |start: usize| {
        let rows = weight.narrow(0, start, block.min(out - start))?;
        x.matmul(&rows.t()?)
    };
    let parts: Vec<Tensor> = starts.into_par_iter().map(part).collect::<Result<_>>()?;
    Tensor::cat(&parts, 1)
}
