//! Products with a weight matrix.

use tch::{Device, TchError, Tensor};

use crate::inference::kept;
use crate::quantised::Quantised;
use crate::train;

/// A matrix of shape `[out_features, in_features]`, as Hugging Face stores it.
#[derive(Debug)]
pub(crate) enum Weight {
    /// Numbers of the model's dtype.
    Plain(Tensor),
    /// Codes with scales.
    Quantised(Quantised),
}

impl Weight {
    /// The same weights for another owner.
    pub(crate) fn shallow_clone(&self) -> Self {
        match self {
            Self::Plain(weight) => Self::Plain(weight.shallow_clone()),
            Self::Quantised(weight) => Self::Quantised(weight.shallow_clone()),
        }
    }

    /// Where it is.
    pub(crate) fn device(&self) -> Device {
        match self {
            Self::Plain(weight) => weight.device(),
            Self::Quantised(weight) => weight.device(),
        }
    }

    /// So many of its rows, from `first` on; the weights are shared.
    pub(crate) fn rows(&self, first: i64, count: i64) -> Result<Self, TchError> {
        Ok(match self {
            Self::Plain(weight) => Self::Plain(weight.f_narrow(0, first, count)?),
            Self::Quantised(weight) => Self::Quantised(weight.rows(first, count)?),
        })
    }

    /// The rows of `ids`, in the model's dtype: from a shape to that and `[in_features]`.
    pub(crate) fn lookup(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Plain(weight) => Tensor::f_embedding(weight, ids, -1, false, false),
            Self::Quantised(weight) => weight.lookup(ids),
        }
    }

    /// Bytes that it takes, scales included.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Plain(weight) => bytes(weight),
            Self::Quantised(weight) => weight.bytes(),
        }
    }
}

/// Bytes that the elements of `tensor` take.
pub(crate) fn bytes(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}

/// `x W^T + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    /// Shape `[out_features]`.
    bias: Option<Tensor>,
}

impl Linear {
    /// [`Linear::forward`], through which the gradient of `x` passes. Outside of inference mode.
    pub(crate) fn with_gradient(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let bias = self.bias.as_ref().map(kept).transpose()?;
        match (&self.weight, &bias) {
            (Weight::Plain(weight), bias) => x.f_linear(&kept(weight)?, bias.as_ref()),
            (Weight::Quantised(weight), None) => train::product(weight, x),
            (Weight::Quantised(weight), Some(bias)) => train::product(weight, x)?.f_add(bias),
        }
    }

    pub(crate) fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// So many of its outputs, from `first` on; the weights are shared.
    pub(crate) fn rows(&self, first: i64, count: i64) -> Result<Self, TchError> {
        let bias = self.bias.as_ref();
        let bias = bias.map(|bias| bias.f_narrow(0, first, count));
        Ok(Self {
            weight: self.weight.rows(first, count)?,
            bias: bias.transpose()?,
        })
    }

    /// From `[batch, tokens, in_features]` to `[batch, tokens, out_features]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        match (&self.weight, &self.bias) {
            (Weight::Plain(weight), bias) => x.f_linear(weight, bias.as_ref()),
            (Weight::Quantised(weight), None) => weight.product(x),
            (Weight::Quantised(weight), Some(bias)) => weight.product(x)?.f_add_(bias),
        }
    }
}
