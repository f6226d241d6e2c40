//! The model's ops alone, for `mlxbench-ops`: the code and the weights of a pass.

use mlxbench_core::{Model, Result};
use mlxbench_ops::{Op, Ops, Part, PreparedOp, session};
use tch::{Kind, Tensor};

use super::{GemmaModel, Network, TchResult};
use crate::backend::{framework, synchronize};
use crate::framework::{Place, Torch};
use crate::inference::inference;

/// Where ops run.
#[derive(Debug)]
pub struct Session(Place);

impl session::Session for Session {
    type Framework = Torch;

    fn scope<R>(&self, work: impl FnOnce() -> R) -> R {
        inference(work)
    }

    fn random(&self, shape: [usize; 3]) -> TchResult<Tensor> {
        let Place { device, dtype, .. } = self.0;
        Tensor::f_randn(shape.map(|n| n as i64), (Kind::Float, device))?.f_to_kind(dtype)
    }

    fn wait(&mut self) -> Result<()> {
        synchronize(self.0.device)
    }

    fn host(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let tensor = tensor
            .f_to_kind(Kind::Float)
            .and_then(|x| x.f_reshape([-1]));
        tensor.and_then(Vec::try_from).map_err(framework)
    }
}

impl Ops for GemmaModel {
    type Prepared<'a> = PreparedOp<'a, Session>;

    fn prepare(&mut self, op: &Op) -> Result<PreparedOp<'_, Session>> {
        let session = Session(self.network.place.clone());
        let x = session::input(&session, op, self.config())?;
        if op.part == Part::LmHead {
            let end = move |_| Ok(vec![self.network.project(&x)?.logits]);
            return Ok(PreparedOp::new(session, Vec::new(), Box::new(end)));
        }
        session::fill(self, op)?;
        let Network {
            config, decoder, ..
        } = &mut self.network;
        PreparedOp::of_layers(session, op, config, decoder, x)
    }
}
