//! libtorch as the layers see it.

use std::sync::Arc;

use mlxbench_core::Error;
use mlxbench_core::gemma::AttentionSpec;
use mlxbench_core::gemma::parts::Framework;
use mlxbench_core::gemma::pass::Pass;
use tch::{Device, Kind, TchError, Tensor};

use crate::attention::{Attention, Form};
use crate::backend;
use crate::cache::KvCache;
use crate::experts::Experts;
use crate::kernels::Kernels;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerInput;
use crate::rope::Rope;
use crate::weights::Weights;

/// libtorch.
#[derive(Debug)]
pub enum Torch {}

/// A device and a dtype, and what is right there.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) device: Device,
    pub(crate) dtype: Kind,
    pub(crate) kernels: Arc<Kernels>,
}

impl Framework for Torch {
    type Tensor = Tensor;
    type Error = TchError;
    type Place = Place;
    type Weights<'a> = Weights<'a>;
    type Norm = RmsNorm;
    type Rope = Rope;
    /// A mask where the form has one.
    type Mask = Form;
    type Cache = KvCache;
    type Attention = Attention;
    type Mlp = Mlp;
    type Experts = Experts;
    type PerLayerInput = PerLayerInput;
    type Scalar = f64;

    fn error(error: TchError) -> Error {
        backend::framework(error)
    }

    fn share(tensor: &Tensor) -> Tensor {
        tensor.shallow_clone()
    }

    fn add(x: Tensor, mut y: Tensor) -> Result<Tensor, TchError> {
        y.f_add_(&x)
    }

    fn scalar(weights: &Weights<'_>, name: &str) -> Result<f64, TchError> {
        f64::try_from(weights.vector(name)?)
    }

    fn scale(mut x: Tensor, by: &f64) -> Result<Tensor, TchError> {
        x.f_mul_scalar_(*by)
    }

    fn mask(pass: &Pass, attention: &AttentionSpec, place: &Place) -> Result<Form, TchError> {
        place.kernels.form(pass, attention)
    }
}
