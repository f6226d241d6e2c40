//! The model's ops alone, for `mlxbench-ops`: the code and the weights of a pass.

use std::fmt;
use std::iter::Cycle;
use std::vec::IntoIter;

use mlxbench_core::gemma::LayerKind;
use mlxbench_core::{Model, Result};
use mlxbench_ops::{Op, Ops, Part, Prepared};
use tch::{Device, Kind, Tensor, no_grad};

use super::{GemmaModel, TchResult, no_room, of_kind};
use crate::attention::{Heads, Span};
use crate::backend::{framework, synchronize};

/// What an op does with the weights of a layer.
type Run<'a> = Box<dyn FnMut(usize) -> TchResult<Vec<Tensor>> + 'a>;

/// An op of a model, with its input.
pub struct PreparedOp<'a> {
    device: Device,
    /// The layers whose weights take turns.
    layers: Cycle<IntoIter<usize>>,
    run: Run<'a>,
    output: Vec<Tensor>,
}

impl Ops for GemmaModel {
    type Prepared<'a> = PreparedOp<'a>;

    fn prepare(&mut self, op: &Op) -> Result<PreparedOp<'_>> {
        let shape = [1, op.tokens as i64, op.input_width(&self.config) as i64];
        let x = Tensor::f_randn(shape, (Kind::Float, self.device));
        let x = x.and_then(|x| x.f_to_kind(self.dtype));
        let spans = match op.part.has_context() {
            true => self.spans(op)?,
            false => Vec::new(),
        };
        let layers = op.layers(&self.config);
        let first = layers.first().copied().unwrap_or_default();
        Ok(PreparedOp {
            device: self.device,
            layers: layers.into_iter().cycle(),
            run: no_grad(|| self.run_of(op.part, x?, spans, first)).map_err(framework)?,
            output: Vec::new(),
        })
    }
}

impl Prepared for PreparedOp<'_> {
    fn run(&mut self) -> Result<()> {
        self.output.clear();
        let layer = self.layers.next().unwrap_or_default();
        self.output = no_grad(|| (self.run)(layer)).map_err(framework)?;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        synchronize(self.device)
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        let host = |tensor: &Tensor| tensor.f_to_kind(Kind::Float)?.f_reshape([-1])?.try_into();
        let tensors = self.output.iter().map(host);
        let tensors: Vec<Vec<f32>> = tensors.collect::<TchResult<_>>().map_err(framework)?;
        Ok(tensors.concat())
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
        context.advance(op.tokens, self.device)
    }

    /// What `part` does with `x`, or with what the layer `first` makes of it on the way there.
    fn run_of(
        &self,
        part: Part,
        x: Tensor,
        spans: Vec<(LayerKind, Span)>,
        first: usize,
    ) -> TchResult<Run<'_>> {
        let layers = &self.layers;
        let caches = self.context.as_ref().map_or(&[][..], |c| &c.caches);
        let first = &layers[first];
        let projected = |x: &Tensor| first.attention.project(x);
        let normalized = |x: &Tensor| first.attention.normalized(projected(x)?);
        Ok(match part {
            Part::Norm => Box::new(move |l| one(layers[l].attention_norm.forward(&x))),
            Part::Qkv => Box::new(move |l| all(layers[l].attention.project(&x))),
            Part::QkNorm => {
                let heads = projected(&x)?;
                Box::new(move |l| all(layers[l].attention.normalized(heads.shallow_clone())))
            }
            Part::Rope => {
                let heads = normalized(&x)?;
                Box::new(move |l| {
                    let span = of_kind(&spans, layers[l].kind);
                    all(heads.shallow_clone().rotated(&span.rope))
                })
            }
            Part::Attention(kind) => {
                let heads = normalized(&x)?.rotated(&of_kind(&spans, kind).rope)?;
                Box::new(move |l| {
                    let span = of_kind(&spans, kind);
                    one(layers[l].attention.attend(&heads, span, &caches[l]))
                })
            }
            Part::Output => Box::new(move |l| one(layers[l].attention.o_proj.forward(&x))),
            Part::GateUp => Box::new(move |l| one(layers[l].mlp.gate_up_proj.forward(&x))),
            Part::Geglu => Box::new(move |l| one(layers[l].mlp.gated(&x))),
            Part::Down => Box::new(move |l| one(layers[l].mlp.down_proj.forward(&x))),
            Part::LmHead => Box::new(move |_| Ok(vec![self.project(&x)?.logits])),
            Part::Layer(kind) => Box::new(move |l| {
                let span = of_kind(&spans, kind);
                one(layers[l].forward(x.shallow_clone(), span, &caches[l]))
            }),
        })
    }
}

fn one(tensor: TchResult<Tensor>) -> TchResult<Vec<Tensor>> {
    Ok(vec![tensor?])
}

fn all(heads: TchResult<Heads>) -> TchResult<Vec<Tensor>> {
    let heads = heads?;
    Ok(vec![heads.queries, heads.keys, heads.values])
}

impl fmt::Debug for PreparedOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedOp").finish_non_exhaustive()
    }
}
