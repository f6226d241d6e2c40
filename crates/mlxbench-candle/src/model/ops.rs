//! The model's ops alone, for `mlxbench-ops`: the code and the weights of a pass.

use candle_core::{DType, Result as CandleResult, Tensor};
use mlxbench_core::{Error, Result};
use mlxbench_ops::{Op, Ops, Part, PreparedOp, session};

use super::GemmaModel;
use crate::framework::{Candle, Place};

/// Where ops run.
#[derive(Debug)]
pub struct Session(Place);

impl session::Session for Session {
    type Framework = Candle;

    fn random(&self, shape: [usize; 3]) -> CandleResult<Tensor> {
        let Place { device, dtype, .. } = &self.0;
        Tensor::randn(0_f32, 1.0, &shape, device)?.to_dtype(*dtype)
    }

    fn wait(&mut self) -> Result<()> {
        self.0.device.synchronize().map_err(Error::framework)
    }

    fn host(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let tensor = tensor.to_dtype(DType::F32).and_then(|x| x.flatten_all());
        tensor.and_then(|x| x.to_vec1()).map_err(Error::framework)
    }
}

impl Ops for GemmaModel {
    type Prepared<'a> = PreparedOp<'a, Session>;

    fn prepare(&mut self, op: &Op) -> Result<PreparedOp<'_, Session>> {
        let session = Session(self.place.clone());
        let x = session::input(&session, op, &self.config)?;
        if op.part == Part::LmHead {
            let end = move |_| Ok(vec![self.project(&x)?.logits]);
            return Ok(PreparedOp::new(session, Vec::new(), Box::new(end)));
        }
        session::fill(self, op)?;
        PreparedOp::of_layers(session, op, &self.config, &mut self.decoder, x)
    }
}
