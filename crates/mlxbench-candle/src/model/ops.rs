//! The model's ops alone, for `mlxbench-ops`: the code and the weights of a pass.

use std::fmt;
use std::iter::Cycle;
use std::vec::IntoIter;

use candle_core::{DType, Device, Tensor};
use mlxbench_core::gemma::LayerKind;
use mlxbench_core::{Error, Model, Result};
use mlxbench_ops::{Op, Ops, Part, Prepared};

use super::{GemmaModel, no_room, of_kind};
use crate::attention::{Heads, Span};

/// What an op does with the weights of a layer.
type Run<'a> = Box<dyn FnMut(usize) -> candle_core::Result<Vec<Tensor>> + 'a>;

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
        let shape = (1, op.tokens, op.input_width(&self.config));
        let x = Tensor::randn(0_f32, 1.0, shape, &self.device).and_then(|x| x.to_dtype(self.dtype));
        let spans = match op.part.has_context() {
            true => self.spans(op)?,
            false => Vec::new(),
        };
        let layers = op.layers(&self.config);
        let first = layers.first().copied().unwrap_or_default();
        Ok(PreparedOp {
            device: self.device.clone(),
            layers: layers.into_iter().cycle(),
            run: x
                .and_then(|x| self.run_of(op.part, x, spans, first))
                .map_err(Error::framework)?,
            output: Vec::new(),
        })
    }
}

impl Prepared for PreparedOp<'_> {
    fn run(&mut self) -> Result<()> {
        self.output.clear();
        let layer = self.layers.next().unwrap_or_default();
        self.output = (self.run)(layer).map_err(Error::framework)?;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.device.synchronize().map_err(Error::framework)
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        let host = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        let tensors = self.output.iter().map(host);
        let tensors: Vec<Vec<f32>> = tensors
            .collect::<candle_core::Result<_>>()
            .map_err(Error::framework)?;
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
        context.advance(op.tokens, &self.device)
    }

    /// What `part` does with `x`, or with what the layer `first` makes of it on the way there.
    fn run_of(
        &self,
        part: Part,
        x: Tensor,
        spans: Vec<(LayerKind, Span)>,
        first: usize,
    ) -> candle_core::Result<Run<'_>> {
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
                one(layers[l].forward(x.clone(), span, &caches[l]))
            }),
        })
    }
}

fn one(tensor: candle_core::Result<Tensor>) -> candle_core::Result<Vec<Tensor>> {
    Ok(vec![tensor?])
}

fn all(heads: candle_core::Result<Heads>) -> candle_core::Result<Vec<Tensor>> {
    let heads = heads?;
    Ok(vec![heads.queries, heads.keys, heads.values])
}

impl fmt::Debug for PreparedOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedOp").finish_non_exhaustive()
    }
}
