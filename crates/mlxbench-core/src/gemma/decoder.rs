//! All layers of a model with their KV caches: which of them run in a pass, and how far.

mod train;

use std::fmt;
use std::sync::Arc;

use crate::backend::ContextShape;
use crate::gemma::parts::{Cache, Framework, Rope, Span, Spans};
use crate::gemma::pass::{Pass, Passes, no_room};
use crate::gemma::{AttentionSpec, GemmaConfig, Layer, LayerCaches, LayerSpec};

/// The layers of a model between its embeddings and its output projection.
pub struct Decoder<F: Framework> {
    specs: Vec<LayerSpec>,
    place: F::Place,
    layers: Vec<Layer<F>>,
    caches: LayerCaches<F>,
    context: Option<Context<F>>,
}

/// What [`Decoder::reset`] makes.
struct Context<F: Framework> {
    passes: Passes,
    /// One for each attention of the passes.
    ropes: Vec<F::Rope>,
}

impl<F: Framework> Decoder<F> {
    /// Loads the layers of `config`, one after another.
    ///
    /// # Errors
    /// The framework's own.
    pub fn load(
        config: &GemmaConfig,
        weights: &F::Weights<'_>,
        place: F::Place,
    ) -> Result<Self, F::Error> {
        let layers = (0..config.num_layers()).map(|index| Layer::load(config, index, weights));
        Ok(Self {
            specs: config.layers.clone(),
            layers: layers.collect::<Result<_, _>>()?,
            place,
            caches: LayerCaches::none(),
            context: None,
        })
    }

    /// Where the model is.
    pub fn place(&self) -> &F::Place {
        &self.place
    }

    /// The layers, and their KV caches; no caches before [`Decoder::reset`].
    pub fn parts(&mut self) -> (&[Layer<F>], &mut LayerCaches<F>) {
        (&self.layers, &mut self.caches)
    }

    /// The KV caches; none before [`Decoder::reset`].
    pub fn caches(&self) -> &LayerCaches<F> {
        &self.caches
    }

    /// Drops the KV caches: beside them, new ones may not fit.
    pub fn clear(&mut self) {
        self.context = None;
        self.caches = LayerCaches::none();
    }

    /// Forgets all tokens and keeps the memory of the KV caches with what is in it, where they were made
    /// for `shape`. False, and nothing changes, where they weren't.
    #[must_use]
    pub fn restart(&mut self, shape: ContextShape) -> bool {
        let context = self.context.as_mut();
        let context = context.filter(|context| context.passes.shape() == shape);
        let restarted = context.map(|context| context.passes = Passes::new(&self.specs, shape));
        restarted.is_some()
    }

    /// Empty KV caches for `shape`.
    ///
    /// # Errors
    /// When they can't be allocated.
    pub fn reset(&mut self, shape: ContextShape) -> Result<(), F::Error> {
        self.clear();
        let passes = Passes::new(&self.specs, shape);
        let ropes = passes
            .attentions()
            .map(|attention| F::Rope::new(attention, shape.capacity, &self.place));
        let ropes = ropes.collect::<Result<_, _>>()?;
        self.caches = LayerCaches::new(&self.specs, |layer| {
            let (attention, capacity) =
                (&self.specs[layer].attention, passes.cache_capacity(layer));
            F::Cache::new(attention, shape.batch, capacity, &self.place)
        })?;
        self.context = Some(Context { passes, ropes });
        Ok(())
    }

    /// Moves on by `tokens` in each of `batch` rows: what all layers share in the pass that must
    /// follow.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the KV caches weren't made for so many; else the
    /// framework's own.
    pub fn advance(&mut self, batch: usize, tokens: usize) -> crate::Result<Spans<F>> {
        let mut plan = self.plan(batch, tokens)?.into_iter();
        let place = &self.place;
        self.spans(|attention, rope| {
            let pass = plan.next().expect("one for each attention");
            Ok(Span {
                mask: F::mask(&pass, attention, place)?,
                rope: rope.at(pass.positions)?,
                append: pass.append,
            })
        })
    }

    /// Moves on by `tokens` in each of `batch` rows: the plan of the pass that must follow, for each
    /// attention that layers have ([`Decoder::of_layers`]), and nothing on the device.
    ///
    /// # Errors
    /// As for [`Decoder::advance`].
    pub fn plan(&mut self, batch: usize, tokens: usize) -> crate::Result<Vec<Pass>> {
        let context = self.context.as_mut().ok_or_else(|| no_room("nothing"))?;
        context.passes.advance(batch, tokens)
    }

    /// What layers share in a pass, as `make` has it for each attention in the order of
    /// [`Decoder::plan`], from the rotations of all positions.
    ///
    /// # Errors
    /// Before [`Decoder::reset`]; else those of `make`.
    pub fn spans(
        &self,
        mut make: impl FnMut(&AttentionSpec, &F::Rope) -> Result<Span<F>, F::Error>,
    ) -> crate::Result<Spans<F>> {
        let context = self.context.as_ref().ok_or_else(|| no_room("nothing"))?;
        let attentions = context.passes.attentions().zip(&context.ropes);
        let spans = attentions.map(|(attention, rope)| make(attention, rope));
        Ok(Spans {
            of_attentions: spans.collect::<Result<_, _>>().map_err(F::error)?,
            of_layers: context.passes.of_layers().clone(),
        })
    }

    /// Which attention each layer has, as an index into [`Decoder::plan`]; none before
    /// [`Decoder::reset`].
    pub fn of_layers(&self) -> Arc<[usize]> {
        let context = self.context.as_ref();
        context.map_or_else(Arc::default, |context| context.passes.of_layers().clone())
    }

    /// Runs all layers on `x`, of shape `[batch, tokens, hidden]`, which they keep. `inputs` are the layers'
    /// own embeddings of the tokens, each of shape `[batch, tokens, width]`; none where they have none.
    ///
    /// # Errors
    /// The framework's own.
    pub fn run(
        &mut self,
        x: F::Tensor,
        inputs: &[F::Tensor],
        spans: &Spans<F>,
    ) -> Result<F::Tensor, F::Error> {
        self.run_first(self.layers.len(), x, inputs, spans)
    }

    /// Fills the KV caches of all layers from `x` and `inputs` as [`Decoder::run`] takes them, and computes
    /// nothing of the last layer beyond its own keys and values, where it has any. A chunk of a prompt that
    /// isn't the last needs no more. Gives what goes into the last layer, which a framework that waits to be
    /// asked must be asked for.
    ///
    /// # Errors
    /// The framework's own.
    pub fn fill(
        &mut self,
        x: F::Tensor,
        inputs: &[F::Tensor],
        spans: &Spans<F>,
    ) -> Result<F::Tensor, F::Error> {
        let Some(last) = self.layers.len().checked_sub(1) else {
            return Ok(x);
        };
        let x = self.run_first(last, x, inputs, spans)?;
        if self.context.is_some() && self.specs[last].attention.keys_values.are_own() {
            self.layers[last].store(&x, spans.of(last), &mut self.caches[last])?;
        }
        Ok(x)
    }

    fn run_first(
        &mut self,
        count: usize,
        mut x: F::Tensor,
        inputs: &[F::Tensor],
        spans: &Spans<F>,
    ) -> Result<F::Tensor, F::Error> {
        if self.context.is_some() {
            for (index, layer) in self.layers.iter().enumerate().take(count) {
                let cache = &mut self.caches[index];
                x = layer.forward(x, inputs.get(index), spans.of(index), cache)?;
            }
        }
        Ok(x)
    }

    /// Forgets all tokens from `position` on.
    ///
    /// # Errors
    /// As [`Passes::rewind`], and before [`Decoder::reset`].
    pub fn rewind(&mut self, position: usize) -> crate::Result<()> {
        let context = self.context.as_mut().ok_or_else(|| no_room("nothing"))?;
        context.passes.rewind(position)
    }
}

impl<F: Framework> fmt::Debug for Decoder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Decoder");
        debug.field("specs", &self.specs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::ops::Range;
    use std::rc::Rc;

    use super::*;
    use crate::gemma::cache::Append;
    use crate::gemma::parts::{Attention, Experts, Heads, Mlp, Norm, PerLayerInput};
    use crate::gemma::pass::Pass;
    use crate::gemma::{
        AttentionSpec, ExpertsSpec, FlatConfig, Gemma4, LayerKind, LayerNames, NormSpec, preset,
    };

    /// A tensor that remembers what was done to it.
    type Log = Rc<RefCell<Vec<&'static str>>>;
    type Done<T = Log> = Result<T, Infallible>;

    fn done(log: &Log, what: &'static str) -> Done {
        log.borrow_mut().push(what);
        Ok(log.clone())
    }

    /// A framework that computes nothing.
    struct Fake;

    struct Part;

    impl Framework for Fake {
        type Tensor = Log;
        type Error = Infallible;
        type Place = ();
        type Weights<'a> = ();
        type Norm = Part;
        type Rope = Part;
        type Mask = ();
        type Cache = Part;
        type Attention = Projections;
        type Mlp = Part;
        type Experts = Part;
        type PerLayerInput = Part;
        type Scalar = ();

        fn error(error: Infallible) -> crate::Error {
            match error {}
        }

        fn share(tensor: &Log) -> Log {
            tensor.clone()
        }

        fn add(x: Log, _y: Log) -> Done {
            done(&x, "add")
        }

        fn scalar(_weights: &(), _name: &str) -> Done<()> {
            Ok(())
        }

        fn scale(x: Log, _by: &()) -> Done {
            done(&x, "scale")
        }

        fn mask(_pass: &Pass, _attention: &AttentionSpec, _place: &()) -> Done<()> {
            Ok(())
        }
    }

    impl Norm<Fake> for Part {
        fn load(_weights: &(), _spec: &NormSpec) -> Done<Self> {
            Ok(Self)
        }

        fn forward(&self, x: &Log) -> Done {
            done(x, "norm")
        }
    }

    impl Rope<Fake> for Part {
        fn new(_attention: &AttentionSpec, _positions: usize, _place: &()) -> Done<Self> {
            Ok(Self)
        }

        fn at(&self, _positions: Range<usize>) -> Done<Self> {
            Ok(Self)
        }

        fn forward(&self, x: &Log) -> Done {
            done(x, "rope")
        }
    }

    impl Cache<Fake> for Part {
        fn new(_: &AttentionSpec, _batch: usize, _capacity: usize, _place: &()) -> Done<Self> {
            Ok(Self)
        }

        fn append(&mut self, _append: &Append, keys: &Log, values: &Log) -> Done<(Log, Log)> {
            Ok((done(keys, "append")?, values.clone()))
        }

        fn read(&self, _append: &Append) -> Done<(Log, Log)> {
            Ok(Default::default())
        }
    }

    struct Projections {
        own: bool,
    }

    impl Attention<Fake> for Projections {
        fn load(_: &(), _: LayerNames, spec: &AttentionSpec, _hidden: usize) -> Done<Self> {
            let own = spec.keys_values.are_own();
            Ok(Self { own })
        }

        fn project(&self, x: &Log) -> Done<Heads<Log>> {
            Ok(Heads {
                queries: done(x, if self.own { "qkv" } else { "q" })?,
                keys_values: self.own.then(|| [x.clone(), x.clone()]),
            })
        }

        fn project_keys_values(&self, x: &Log) -> Done<[Log; 2]> {
            Ok([done(x, "kv")?, x.clone()])
        }

        fn attend(&self, heads: &Heads<Log>, span: &Span<Fake>, cache: &mut Part) -> Done {
            if let Some([keys, values]) = &heads.keys_values {
                cache.append(&span.append, keys, values)?;
            }
            done(&heads.queries, "attend")
        }

        fn output(&self, mixed: &Log) -> Done {
            done(mixed, "o")
        }
    }

    impl Mlp<Fake> for Part {
        fn load(_: &(), _: LayerNames, _width: usize, _hidden: usize) -> Done<Self> {
            Ok(Self)
        }

        fn gate_up(&self, x: &Log) -> Done {
            done(x, "gate_up")
        }

        fn gated(&self, gate_up: &Log) -> Done {
            done(gate_up, "gated")
        }

        fn down(&self, gated: &Log) -> Done {
            done(gated, "down")
        }
    }

    impl Experts<Fake> for Part {
        fn load(_: &(), _: LayerNames, _: &ExpertsSpec, _hidden: usize) -> Done<Self> {
            Ok(Self)
        }

        fn forward(&self, _routed: &Log, x: &Log) -> Done {
            done(x, "experts")
        }
    }

    impl PerLayerInput<Fake> for Part {
        fn load(_: &(), _: LayerNames, _width: usize, _hidden: usize) -> Done<Self> {
            Ok(Self)
        }

        fn forward(&self, x: &Log, _input: &Log) -> Done {
            done(x, "input")
        }
    }

    /// One layer of Gemma 3.
    const LAYER: [&str; 16] = [
        "norm", "qkv", "norm", "norm", "rope", "rope", "append", "attend", "o", "norm", "add",
        "norm", "gate_up", "gated", "down", "norm",
    ];

    fn decoder() -> Decoder<Fake> {
        let config = GemmaConfig::from(FlatConfig {
            layers: vec![LayerKind::Local, LayerKind::Global],
            ..preset("gemma-3-270m").unwrap().config().flat().unwrap()
        });
        Decoder::load(&config, &(), ()).unwrap()
    }

    const SHAPE: ContextShape = ContextShape {
        batch: 1,
        capacity: 9,
        chunk: 3,
    };

    #[test]
    fn a_pass_runs_every_layer_to_its_end() {
        let mut decoder = decoder();
        decoder.reset(SHAPE).unwrap();
        let spans = decoder.advance(1, 3).unwrap();
        let log = decoder.run(Log::default(), &[], &spans).unwrap();
        assert_eq!(
            log.borrow()[..],
            [&LAYER[..], &["add"], &LAYER, &["add"]].concat()
        );
    }

    #[test]
    fn a_chunk_that_is_not_the_last_needs_keys_and_values_of_the_last_layer_only() {
        let mut decoder = decoder();
        decoder.reset(SHAPE).unwrap();
        let spans = decoder.advance(1, 3).unwrap();
        let log = Log::default();
        decoder.fill(log.clone(), &[], &spans).unwrap();
        let stored = ["norm", "kv", "norm", "rope", "append"];
        assert_eq!(log.borrow()[..], [&LAYER[..], &["add"], &stored].concat());
    }

    /// Three layers of Gemma 4 with embeddings of their own, the last of which shares the first's cache.
    fn sharing() -> Decoder<Fake> {
        let flat = preset("gemma-4-e2b").unwrap().config().flat().unwrap();
        let gemma4 = flat.gemma4.clone().unwrap();
        let config = GemmaConfig::from(FlatConfig {
            layers: vec![LayerKind::Local, LayerKind::Global, LayerKind::Global],
            gemma4: Some(Gemma4 {
                num_kv_shared_layers: 1,
                ..gemma4
            }),
            ..flat
        });
        Decoder::load(&config, &(), ()).unwrap()
    }

    #[test]
    fn a_layer_that_shares_a_cache_projects_queries_alone_and_appends_nothing() {
        let mut decoder = sharing();
        decoder.reset(SHAPE).unwrap();
        assert_eq!(decoder.caches().iter().count(), 2);
        let spans = decoder.advance(1, 3).unwrap();
        let inputs = [Log::default(), Log::default(), Log::default()];
        let log = decoder.run(Log::default(), &inputs, &spans).unwrap();
        let rest = [
            "attend", "o", "norm", "add", "norm", "gate_up", "gated", "down", "norm", "add",
            "input", "norm", "add", "scale",
        ];
        let own = ["norm", "qkv", "norm", "norm", "norm", "rope", "rope"];
        let own = [&own[..], &["append"], &rest].concat();
        let shared = [&["norm", "q", "norm", "rope"][..], &rest].concat();
        // `append` is told on attending.
        assert_eq!(log.borrow()[..], [&own[..], &own, &shared].concat());
        let log = Log::default();
        let spans = decoder.advance(1, 3).unwrap();
        decoder.fill(log.clone(), &inputs, &spans).unwrap();
        assert_eq!(log.borrow()[..], [&own[..], &own].concat());
    }

    #[test]
    fn a_restart_keeps_the_caches_of_the_same_shape_and_forgets_the_tokens() {
        let mut decoder = decoder();
        assert!(!decoder.restart(SHAPE), "there is nothing to keep");
        decoder.reset(SHAPE).unwrap();
        decoder.plan(1, 3).unwrap();
        assert!(decoder.restart(SHAPE));
        assert_eq!(decoder.plan(1, 2).unwrap()[0].positions, 0..2);
        let other = ContextShape {
            capacity: 8,
            ..SHAPE
        };
        assert!(!decoder.restart(other));
        assert_eq!(decoder.plan(1, 1).unwrap()[0].positions, 2..3);
    }

    #[test]
    fn nothing_goes_on_before_a_reset() {
        let mut decoder = decoder();
        for answer in [decoder.advance(1, 3).map(drop), decoder.rewind(0)] {
            let message = answer.unwrap_err().to_string();
            assert!(message.contains("made for nothing: reset"), "{message}");
        }
        decoder.reset(SHAPE).unwrap();
        decoder.rewind(0).unwrap();
    }
}
