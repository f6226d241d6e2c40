//! The model's ops alone, for `mlxbench-ops`: the code and the weights of a pass.

use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Stream, random, with_stream};
use mlxbench_core::{Error, Result};
use mlxbench_ops::{Op, Ops, Part, PreparedOp, session};

use super::{GemmaModel, MlxResult};
use crate::backend::{framework, synchronize};
use crate::framework::{Mlx, Place};

/// Where ops run.
#[derive(Debug)]
pub struct Session {
    stream: Stream,
    place: Place,
    /// Whether each run is handed over at once. Else all runs up to a wait make one graph, as the
    /// layers of a step do; in a prefill that would hold what comes out of all of them.
    eager: bool,
    pending: Vec<Array>,
}

impl session::Session for Session {
    type Framework = Mlx;

    fn scope<R>(&self, work: impl FnOnce() -> R) -> R {
        with_stream(&self.stream, work)
    }

    fn random(&self, shape: [usize; 3]) -> MlxResult<Array> {
        let shape = shape.map(|n| n as i32);
        let x = random::normal::<f32>(&shape, None, None, None)?.as_dtype(self.place.dtype)?;
        x.eval()?;
        Ok(x)
    }

    fn evaluate(&self, tensors: &[&Array]) -> MlxResult<()> {
        eval(tensors.iter().copied())
    }

    fn queue(&mut self, output: &[Array]) -> MlxResult<()> {
        match self.eager {
            true => with_stream(&self.stream, || async_eval(output)),
            false => {
                self.pending.extend_from_slice(output);
                Ok(())
            }
        }
    }

    fn wait(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        with_stream(&self.stream, || eval(&pending)).map_err(framework)?;
        synchronize(&self.stream)
    }

    fn host(&self, tensor: &Array) -> Result<Vec<f32>> {
        with_stream(&self.stream, || {
            let row_major = tensor.contiguous().map_err(framework)?;
            row_major.to_vec_cast().map_err(Error::framework)
        })
    }
}

impl Ops for GemmaModel {
    type Prepared<'a> = PreparedOp<'a, Session>;

    fn prepare(&mut self, op: &Op) -> Result<PreparedOp<'_, Session>> {
        let session = Session {
            stream: self.stream.clone(),
            place: self.place,
            eager: op.tokens > 1,
            pending: Vec::new(),
        };
        let x = session::input(&session, op, &self.config)?;
        if op.part == Part::LmHead {
            let end = move |_| Ok(vec![self.project(&x)?.logits]);
            return Ok(PreparedOp::new(session, Vec::new(), Box::new(end)));
        }
        session::fill(self, op)?;
        PreparedOp::of_layers(session, op, &self.config, &mut self.decoder, x)
    }
}
