//! Training of low-rank adapters by MLX's `value_and_grad`: what they are and what a step is, `mlxbench_core::lora`
//! says.

mod adamw;
mod loss;
mod parts;

use mlx_rs::error::{Exception, Result as MlxResult};
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::zeros_dtype;
use mlx_rs::transforms::compile::compile;
use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Dtype, memory, with_stream};
use mlxbench_core::gemma::train::{Text, Trainable};
use mlxbench_core::lora::{
    Adapter, Lora, Trainer, Update, adapters, check_batch, check_trainable, no_step,
};
use mlxbench_core::{Error, Result, TokenBatch};

use crate::backend::{framework, synchronize};
use crate::model::{GemmaModel, upload};

/// Adapters on a model, and what trains them.
pub(crate) struct LoraTrainer<'a> {
    model: &'a GemmaModel,
    lora: Lora,
    /// Steps that were taken.
    steps: u32,
    /// `A` and `B` of each adapter, one behind the other; the running means of their gradients; those of the squares.
    /// f32. Empty where a step failed while it was computed.
    state: Vec<Array>,
    take: Box<Take<'a>>,
    last: Option<Step>,
    /// Dropped after what lies above.
    _cache: ClearedCache,
}

/// From the ids, the numbers of an update and the state to the loss, the new state and gradients.
type Take<'a> = dyn FnMut(&[Array]) -> MlxResult<Vec<Array>> + 'a;

/// Arrays before the state in what a step is a function of: ids, and the numbers of an update.
const BEFORE_STATE: usize = 4;

/// What a step leaves behind.
#[derive(Debug)]
struct Step {
    /// A scalar in f32.
    loss: Array,
    /// One for each matrix.
    gradients: Vec<Array>,
}

impl<'a> LoraTrainer<'a> {
    /// Fresh adapters. The KV caches of the model are gone.
    pub(crate) fn start(model: &'a mut GemmaModel, lora: &Lora) -> Result<Self> {
        lora.check(&model.config)?;
        check_trainable(&model.config, model.place.dtype == Dtype::Float16)?;
        model.decoder.clear();
        memory::reset_peak_memory().map_err(framework)?;
        let model: &'a GemmaModel = model;
        let adapters = adapters(lora, &model.config);
        let state = with_stream(&model.stream, || {
            let matrices = adapters.iter().map(|adapter| fresh(adapter, lora));
            let matrices: Vec<[Array; 2]> = matrices.collect::<MlxResult<_>>()?;
            let matrices: Vec<Array> = matrices.into_iter().flatten().collect();
            let means = matrices.iter().chain(&matrices);
            let means = means.map(|matrix| zeros_dtype(matrix.shape(), Dtype::Float32));
            let means: Vec<Array> = means.collect::<MlxResult<_>>()?;
            let state: Vec<Array> = matrices.into_iter().chain(means).collect();
            eval(&state)?;
            Ok(state)
        })
        .map_err(framework)?;
        let whole = WholeStep {
            model,
            lora: *lora,
            adapters,
        };
        Ok(Self {
            model,
            lora: *lora,
            steps: 0,
            state,
            take: whole.compiled(),
            last: None,
            _cache: ClearedCache,
        })
    }

    /// What the next step makes of `tokens` and the state, which it takes: nothing is computed yet. A step that fails
    /// here leaves the state as it was.
    fn taken(&mut self, tokens: &TokenBatch) -> MlxResult<Vec<Array>> {
        let Update { keep, rate, root } = self.lora.update(self.steps + 1);
        let numbers = [keep, rate, root].map(|number| Array::from_f32(number as f32));
        let mut at = vec![upload(tokens)];
        at.extend(numbers);
        at.append(&mut self.state);
        let taken = (self.take)(&at);
        match &taken {
            Ok(_) => self.steps += 1,
            Err(_) => self.state = at.split_off(BEFORE_STATE),
        }
        taken
    }

    fn last(&self) -> Result<&Step> {
        synchronize(&self.model.stream)?;
        self.last.as_ref().ok_or_else(no_step)
    }
}

/// Empties MLX's cache when it is dropped: what a training needed isn't kept from the tests that come next.
struct ClearedCache;

impl Drop for ClearedCache {
    fn drop(&mut self) {
        memory::clear_cache().unwrap_or_else(|error| eprintln!("warning: MLX's cache: {error}"));
    }
}

impl Trainer for LoraTrainer<'_> {
    fn step(&mut self, tokens: &TokenBatch) -> Result<()> {
        check_batch(tokens, &self.model.config)?;
        if self.state.is_empty() {
            return Err(Error::Framework(
                "an earlier step failed and took the adapters with it: no step can follow".into(),
            ));
        }
        // The last step's gradients go first.
        self.last = None;
        let model = self.model;
        with_stream(&model.stream, || {
            let mut all = self.taken(tokens).map_err(framework)?;
            // On a GPU MLX may go on meanwhile.
            let computed = match model.asynchronous {
                true => async_eval(&all),
                false => eval(&all),
            };
            computed.map_err(framework)?;
            let matrices = (all.len() - 1) / 4;
            let gradients = all.split_off(1 + 3 * matrices);
            self.state = all.split_off(1);
            let loss = all.swap_remove(0);
            self.last = Some(Step { loss, gradients });
            Ok(())
        })
    }

    fn loss(&mut self) -> Result<f32> {
        let loss = self.last()?.loss.clone();
        with_stream(&self.model.stream, || {
            let loss = loss.to_vec_exact::<f32>().map_err(Error::framework)?;
            Ok(loss[0])
        })
    }

    fn gradient_norms(&mut self) -> Result<Vec<f32>> {
        let gradients = self.last()?.gradients.iter();
        with_stream(&self.model.stream, || {
            let norm = |gradient: &Array| {
                let norm = gradient.square()?.sum(None)?.sqrt()?;
                norm.eval().map(|()| norm)
            };
            let norms = gradients.map(|gradient| {
                let norm = norm(gradient).map_err(framework)?;
                let norm = norm.to_vec_exact::<f32>().map_err(Error::framework)?;
                Ok(norm[0])
            });
            norms.collect()
        })
    }

    fn device_peak_bytes(&self) -> Option<u64> {
        self.model.peak_bytes()
    }
}

/// The initial `A` and `B` of an adapter.
fn fresh(adapter: &Adapter, lora: &Lora) -> MlxResult<[Array; 2]> {
    let rank = lora.rank as i32;
    let a = Array::from_slice(
        &adapter.initial_a(lora),
        &[rank, adapter.in_features as i32],
    );
    let b = zeros_dtype(&[adapter.out_features as i32, rank], Dtype::Float32)?;
    Ok([a, b])
}

/// A step as a function of arrays alone.
struct WholeStep<'a> {
    model: &'a GemmaModel,
    lora: Lora,
    adapters: Vec<Adapter>,
}

impl<'a> WholeStep<'a> {
    /// Compiled, as mlx-lm's trainer has it: anew for each shape of ids. Not with gradient checkpointing: compiling
    /// merges what is computed twice. `fused::way` says whether MLX can compile.
    fn compiled(self) -> Box<Take<'a>> {
        if self.lora.gradient_checkpointing {
            return Box::new(move |at| self.take(at));
        }
        let take: Box<Take<'a>> = Box::new(move |at| self.take(at));
        // SAFETY: mlx-rs asks for a function that may live for ever. This one is in what it returns, which the box
        // below gives the lifetime back that the model is borrowed for.
        let take: Box<Take<'static>> = unsafe { std::mem::transmute(take) };
        let mut compiled = compile::<_, &[Array], Vec<Array>, Exception>(take, false);
        Box::new(move |at: &[Array]| compiled(at))
    }

    fn take(&self, at: &[Array]) -> MlxResult<Vec<Array>> {
        let ([ids, numbers @ ..], state) = at.split_at(BEFORE_STATE) else {
            unreachable!("ids and the numbers of an update");
        };
        let matrices = &state[..state.len() / 3];
        let (loss, gradients) = self.loss_and_gradients(ids, matrices)?;
        let state = adamw::updated(numbers, state, &gradients)?;
        Ok([loss].into_iter().chain(state).chain(gradients).collect())
    }

    /// The mean loss over all tokens of `ids`, of shape `[batch, tokens]`, but a row's first, and its gradients, one
    /// for each matrix.
    fn loss_and_gradients(
        &self,
        ids: &Array,
        matrices: &[Array],
    ) -> MlxResult<(Array, Vec<Array>)> {
        let model = self.model;
        let (batch, tokens) = (ids.dim(0) as usize, ids.dim(1) as usize);
        let spans = model
            .decoder
            .text(batch, tokens)
            .map_err(|error| Exception::custom(error.to_string()))?;
        let trainable = Trainable {
            lora: &self.lora,
            adapters: &self.adapters,
            matrices,
        };
        let (x, inputs) = model.embed(ids)?;
        let loss = |hidden: &Array| {
            let logits = model.logits_with_gradient(&hidden.try_index((.., ..-1, ..))?)?;
            loss::mean_cross_entropy(&logits, &ids.try_index((.., 1..))?)
        };
        let text = Text {
            x,
            inputs: &inputs,
            spans: &spans,
        };
        model.decoder.loss_and_gradients(&text, &trainable, loss)
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_conformance::Golden;
    use mlxbench_core::Placement;
    use mlxbench_core::lora::LoraModules;

    use super::*;
    use crate::MlxBackend;

    const LORA: Lora = Lora {
        rank: 2,
        layers: 2,
        modules: LoraModules::QueryValue,
        scale: 20.0,
        learning_rate: 0.01,
        weight_decay: 0.0,
        seed: 0,
        gradient_checkpointing: false,
    };

    fn model() -> GemmaModel {
        let placement = Placement {
            device: mlxbench_core::Device::cpu(),
            precision: mlxbench_core::Dtype::F32.into(),
        };
        let golden = Golden::named("gemma3").unwrap();
        golden.load(&mut MlxBackend::default(), &placement).unwrap()
    }

    fn rows() -> TokenBatch {
        TokenBatch::row(vec![5, 12, 19, 26, 33])
    }

    fn failing(_: &[Array]) -> MlxResult<Vec<Array>> {
        Err(Exception::custom("out of memory"))
    }

    /// Two steps, and where `fail` says so one between them that fails.
    fn losses(model: &mut GemmaModel, fail: bool) -> [f32; 2] {
        let mut trainer = LoraTrainer::start(model, &LORA).unwrap();
        trainer.step(&rows()).unwrap();
        let first = trainer.loss().unwrap();
        if fail {
            let take = std::mem::replace(&mut trainer.take, Box::new(failing));
            let error = trainer.step(&rows()).unwrap_err();
            assert_eq!(error.to_string(), "out of memory");
            trainer.take = take;
        }
        trainer.step(&rows()).unwrap();
        [first, trainer.loss().unwrap()]
    }

    #[test]
    fn a_step_that_fails_before_it_is_computed_changes_nothing() {
        let mut model = model();
        let undisturbed = losses(&mut model, false);
        assert_ne!(undisturbed[0], undisturbed[1]);
        assert_eq!(losses(&mut model, true), undisturbed);
    }

    #[test]
    fn no_step_follows_one_that_lost_the_state() {
        let mut model = model();
        let mut trainer = LoraTrainer::start(&mut model, &LORA).unwrap();
        trainer.state.clear();
        let error = trainer.step(&rows()).unwrap_err();
        assert!(
            error.to_string().contains("an earlier step failed"),
            "{error}"
        );
    }
}
