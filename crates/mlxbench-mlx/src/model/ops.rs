//! The model's ops alone, for `mlxbench-ops`: the code and the weights of a pass.

use std::fmt;
use std::iter::Cycle;
use std::vec::IntoIter;

use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Stream, random, with_stream};
use mlxbench_core::gemma::LayerKind;
use mlxbench_core::{Error, Model, Result};
use mlxbench_ops::{Op, Ops, Part, Prepared};

use super::{GemmaModel, MlxResult, no_room, of_kind};
use crate::attention::{Heads, Span};
use crate::backend::{framework, synchronize};

/// What an op does with the weights of a layer.
type Run<'a> = Box<dyn FnMut(usize) -> MlxResult<Vec<Array>> + 'a>;

/// An op of a model, with its input.
pub struct PreparedOp<'a> {
    stream: Stream,
    /// The layers whose weights take turns.
    layers: Cycle<IntoIter<usize>>,
    run: Run<'a>,
    /// Whether each run is handed over at once. Else all runs up to a wait make one graph, as the
    /// layers of a step do; in a prefill that would hold what comes out of all of them.
    eager: bool,
    pending: Vec<Array>,
    output: Vec<Array>,
}

impl Ops for GemmaModel {
    type Prepared<'a> = PreparedOp<'a>;

    fn prepare(&mut self, op: &Op) -> Result<PreparedOp<'_>> {
        let spans = match op.part.has_context() {
            true => self.spans(op)?,
            false => Vec::new(),
        };
        let stream = self.stream.clone();
        let layers = op.layers(&self.config);
        let first = layers.first().copied().unwrap_or_default();
        let shape = [1, op.tokens as i32, op.input_width(&self.config) as i32];
        let run = with_stream(&stream, || {
            let x = random::normal::<f32>(&shape, None, None, None)?.as_dtype(self.dtype)?;
            x.eval()?;
            self.run_of(op.part, x, spans, first)
        });
        Ok(PreparedOp {
            stream: stream.clone(),
            layers: layers.into_iter().cycle(),
            run: run.map_err(framework)?,
            eager: op.tokens > 1,
            pending: Vec::new(),
            output: Vec::new(),
        })
    }
}

impl Prepared for PreparedOp<'_> {
    fn run(&mut self) -> Result<()> {
        self.output.clear();
        let layer = self.layers.next().unwrap_or_default();
        let run = || {
            self.output = (self.run)(layer)?;
            match self.eager {
                true => async_eval(&self.output)?,
                false => self.pending.extend_from_slice(&self.output),
            }
            Ok(())
        };
        with_stream(&self.stream, run).map_err(framework)
    }

    fn wait(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        with_stream(&self.stream, || eval(&pending)).map_err(framework)?;
        synchronize(&self.stream)
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        let host = |array: &Array| {
            let row_major = array.contiguous().map_err(framework)?;
            row_major.to_vec_cast().map_err(Error::framework)
        };
        let arrays = || self.output.iter().map(host).collect::<Result<Vec<_>>>();
        Ok(with_stream(&self.stream, arrays)?.concat())
    }
}

impl GemmaModel {
    /// Fills the KV cache as `op` asks, and says what its tokens mean for layers of each kind.
    fn spans(&mut self, op: &Op) -> Result<Vec<(LayerKind, Span)>> {
        self.reset(op.context())?;
        if let Some(history) = op.history(&self.config) {
            self.prefill(&history)?;
        }
        let context = self.context.as_mut().ok_or_else(|| no_room("nothing"))?;
        with_stream(&self.stream, || context.advance(op.tokens, self.dtype))
    }

    /// What `part` does with `x`, or with what the layer `first` makes of it on the way there.
    fn run_of(
        &mut self,
        part: Part,
        x: Array,
        spans: Vec<(LayerKind, Span)>,
        first: usize,
    ) -> MlxResult<Run<'_>> {
        if part == Part::LmHead {
            let model = &*self;
            return Ok(Box::new(move |_| Ok(vec![model.project(&x)?.logits])));
        }
        let layers = &self.layers;
        let caches = self.context.as_mut().map_or(&mut [][..], |c| &mut c.caches);
        let first = &layers[first];
        let projected = |x: &Array| evaluated(first.attention.project(x)?);
        let normalized = |x: &Array| evaluated(first.attention.normalized(projected(x)?)?);
        Ok(match part {
            Part::Norm => Box::new(move |l| one(layers[l].attention_norm.forward(&x))),
            Part::Qkv => Box::new(move |l| all(layers[l].attention.project(&x))),
            Part::QkNorm => {
                let heads = projected(&x)?;
                Box::new(move |l| all(layers[l].attention.normalized(heads.clone())))
            }
            Part::Rope => {
                let heads = normalized(&x)?;
                Box::new(move |l| {
                    let span = of_kind(&spans, layers[l].kind);
                    all(heads.clone().rotated(&span.rope))
                })
            }
            Part::Attention(kind) => {
                let heads = normalized(&x)?.rotated(&of_kind(&spans, kind).rope)?;
                let heads = evaluated(heads)?;
                Box::new(move |l| {
                    let span = of_kind(&spans, kind);
                    one(layers[l].attention.attend(&heads, span, &mut caches[l]))
                })
            }
            Part::Output => Box::new(move |l| one(layers[l].attention.o_proj.forward(&x))),
            Part::GateUp => Box::new(move |l| one(layers[l].mlp.gate_up_proj.forward(&x))),
            Part::Geglu => Box::new(move |l| one(layers[l].mlp.gated(&x))),
            Part::Down => Box::new(move |l| one(layers[l].mlp.down_proj.forward(&x))),
            Part::LmHead => unreachable!("was made above"),
            Part::Layer(kind) => Box::new(move |l| {
                let span = of_kind(&spans, kind);
                one(layers[l].forward(x.clone(), span, &mut caches[l]))
            }),
        })
    }
}

fn one(array: MlxResult<Array>) -> MlxResult<Vec<Array>> {
    Ok(vec![array?])
}

fn all(heads: MlxResult<Heads>) -> MlxResult<Vec<Array>> {
    let heads = heads?;
    Ok(vec![heads.queries, heads.keys, heads.values])
}

/// `heads`, computed now, so that no run does it.
fn evaluated(heads: Heads) -> MlxResult<Heads> {
    eval([&heads.queries, &heads.keys, &heads.values])?;
    Ok(heads)
}

impl fmt::Debug for PreparedOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedOp").finish_non_exhaustive()
    }
}
