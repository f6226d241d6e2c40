//! Ops of an adapter's layers, run alone: what is the same for all frameworks.

use std::iter::Cycle;
use std::vec::IntoIter;

use mlxbench_core::gemma::parts::{Attention, Framework, Heads, Mlp, Norm};
use mlxbench_core::gemma::{Decoder, Layer};
use mlxbench_core::{GemmaConfig, Model, Result};

use crate::{Op, Part, Prepared};

/// How a framework runs what it is handed.
pub trait Session {
    /// The framework.
    type Framework: Framework;

    /// Runs `work` as the adapter runs a pass: on its stream, without gradients.
    fn scope<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Random numbers of `shape` in the model's dtype, computed.
    ///
    /// # Errors
    /// The framework's own, as of all that follow.
    fn random(&self, shape: [usize; 3]) -> Outcome<Self::Framework, Tensor<Self>>;

    /// Computes `tensors` now, where the framework would wait until they are read.
    ///
    /// # Errors
    /// The framework's own.
    fn evaluate(&self, _tensors: &[&Tensor<Self>]) -> Outcome<Self::Framework, ()> {
        Ok(())
    }

    /// Takes note of what came out of a run, where that isn't computed yet.
    ///
    /// # Errors
    /// The framework's own.
    fn queue(&mut self, _output: &[Tensor<Self>]) -> Outcome<Self::Framework, ()> {
        Ok(())
    }

    /// Waits until the device has done all runs.
    ///
    /// # Errors
    /// The framework's own.
    fn wait(&mut self) -> Result<()>;

    /// Brings `tensor` to the host as f32, row after row.
    ///
    /// # Errors
    /// The framework's own.
    fn host(&self, tensor: &Tensor<Self>) -> Result<Vec<f32>>;
}

/// The tensor of a session's framework.
pub type Tensor<S> = <<S as Session>::Framework as Framework>::Tensor;

/// What a framework answers.
pub type Outcome<F, T> = std::result::Result<T, <F as Framework>::Error>;

/// What an op does with the weights of the layer that it is told.
pub type Run<'a, F> = Box<dyn FnMut(usize) -> Outcome<F, Vec<<F as Framework>::Tensor>> + 'a>;

/// An op of a model, with its input.
pub struct PreparedOp<'a, S: Session> {
    session: S,
    /// The layers whose weights take turns.
    layers: Cycle<IntoIter<usize>>,
    run: Run<'a, S::Framework>,
    output: Vec<Tensor<S>>,
}

/// Random input for `op`.
///
/// # Errors
/// The framework's own.
pub fn input<S: Session>(session: &S, op: &Op, config: &GemmaConfig) -> Result<Tensor<S>> {
    let shape = [1, op.tokens, op.input_width(config)];
    let x = session.scope(|| session.random(shape));
    x.map_err(S::Framework::error)
}

/// Fills the model's KV cache as `op` asks, where it has a context.
///
/// # Errors
/// The framework's own.
pub fn fill(model: &mut impl Model, op: &Op) -> Result<()> {
    if op.part.has_context() {
        model.reset(op.context())?;
        if let Some(history) = op.history(model.config()) {
            model.prefill(&history)?;
        }
    }
    Ok(())
}

impl<'a, S: Session> PreparedOp<'a, S> {
    /// `run`, with the weights of `layers` in turn.
    pub fn new(session: S, layers: Vec<usize>, run: Run<'a, S::Framework>) -> Self {
        Self {
            session,
            layers: layers.into_iter().cycle(),
            run,
            output: Vec::new(),
        }
    }

    /// What the layers of `decoder` do with `x` for `op`. A part behind others gets what the first of
    /// its layers makes of `x` on the way there.
    ///
    /// # Errors
    /// The framework's own.
    pub fn of_layers(
        session: S,
        op: &Op,
        config: &GemmaConfig,
        decoder: &'a mut Decoder<S::Framework>,
        x: Tensor<S>,
    ) -> Result<Self> {
        let layers = op.layers(config);
        let first = layers.first().copied().unwrap_or_default();
        let run = session.scope(|| run_of(&session, op, decoder, x, first))?;
        Ok(Self::new(session, layers, run))
    }
}

fn run_of<'a, S: Session>(
    session: &S,
    op: &Op,
    decoder: &'a mut Decoder<S::Framework>,
    x: Tensor<S>,
    first: usize,
) -> Result<Run<'a, S::Framework>> {
    let spans = match op.part.has_context() {
        true => Some(decoder.advance(1, op.tokens)?),
        false => None,
    };
    let (layers, caches) = decoder.parts();
    let layer: &Layer<S::Framework> = &layers[first];
    let evaluated = |heads: Heads<Tensor<S>>| {
        session.evaluate(&tensors::<S>(&heads))?;
        Ok(heads)
    };
    let projected = |x: &Tensor<S>| evaluated(layer.attention.project(x)?);
    let normalized = |x: &Tensor<S>| evaluated(layer.normalized(projected(x)?)?);
    let run = || -> Outcome<S::Framework, Run<'a, S::Framework>> {
        Ok(match (op.part, spans) {
            (Part::Norm, _) => Box::new(move |l| one(layers[l].attention_norm.forward(&x))),
            (Part::Qkv, _) => Box::new(move |l| all(layers[l].attention.project(&x))),
            (Part::QkNorm, _) => {
                let heads = projected(&x)?;
                Box::new(move |l| all(layers[l].normalized(shared::<S>(&heads))))
            }
            (Part::Rope, Some(spans)) => {
                let heads = normalized(&x)?;
                Box::new(move |l| all(layers[l].rotated(shared::<S>(&heads), spans.of(l))))
            }
            (Part::Attention(_), Some(spans)) => {
                let heads = evaluated(layer.rotated(normalized(&x)?, spans.of(first))?)?;
                Box::new(move |l| {
                    let attention = &layers[l].attention;
                    one(attention.attend(&heads, spans.of(l), &mut caches[l]))
                })
            }
            (Part::Output, _) => Box::new(move |l| one(layers[l].attention.output(&x))),
            (Part::GateUp, _) => Box::new(move |l| one(layers[l].mlp.gate_up(&x))),
            (Part::Geglu, _) => Box::new(move |l| one(layers[l].mlp.gated(&x))),
            (Part::Down, _) => Box::new(move |l| one(layers[l].mlp.down(&x))),
            (Part::Layer(_), Some(spans)) => Box::new(move |l| {
                let x = S::Framework::share(&x);
                one(layers[l].forward(x, None, spans.of(l), &mut caches[l]))
            }),
            (Part::Rope | Part::Attention(_) | Part::Layer(_), None) => {
                unreachable!("parts with a context have spans")
            }
            (Part::LmHead, _) => unreachable!("it is no part of a layer"),
        })
    };
    run().map_err(S::Framework::error)
}

impl<S: Session> Prepared for PreparedOp<'_, S> {
    fn run(&mut self) -> Result<()> {
        self.output.clear();
        let layer = self.layers.next().unwrap_or_default();
        let output = self.session.scope(|| (self.run)(layer));
        self.output = output.map_err(S::Framework::error)?;
        let queued = self.session.queue(&self.output);
        queued.map_err(S::Framework::error)
    }

    fn wait(&mut self) -> Result<()> {
        self.session.wait()
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        let tensors = self.output.iter().map(|tensor| self.session.host(tensor));
        Ok(tensors.collect::<Result<Vec<_>>>()?.concat())
    }
}

fn one<T, E>(tensor: std::result::Result<T, E>) -> std::result::Result<Vec<T>, E> {
    Ok(vec![tensor?])
}

fn all<T, E>(heads: std::result::Result<Heads<T>, E>) -> std::result::Result<Vec<T>, E> {
    let heads = heads?;
    let keys_values = heads.keys_values.into_iter().flatten();
    Ok([heads.queries].into_iter().chain(keys_values).collect())
}

fn tensors<S: Session>(heads: &Heads<Tensor<S>>) -> Vec<&Tensor<S>> {
    let keys_values = heads.keys_values.iter().flatten();
    [&heads.queries].into_iter().chain(keys_values).collect()
}

fn shared<S: Session>(heads: &Heads<Tensor<S>>) -> Heads<Tensor<S>> {
    Heads {
        queries: S::Framework::share(&heads.queries),
        keys_values: heads
            .keys_values
            .as_ref()
            .map(|kv| kv.each_ref().map(S::Framework::share)),
    }
}
