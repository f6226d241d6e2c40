//! Training of low-rank adapters by MLX's `value_and_grad`: what they are and what a step is, `mlxbench_core::lora`
//! says.

mod adamw;
mod loss;
mod parts;

use mlx_rs::error::Result as MlxResult;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::zeros_dtype;
use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Dtype, memory, with_stream};
use mlxbench_core::gemma::train::{Text, Trainable};
use mlxbench_core::lora::{
    Adapter, Lora, Trainer, adapters, check_batch, check_trainable, no_step,
};
use mlxbench_core::{Error, Result, TokenBatch};

use crate::backend::{framework, synchronize};
use crate::model::{GemmaModel, upload};
use adamw::AdamW;

/// Adapters on a model, and what trains them.
#[derive(Debug)]
pub(crate) struct LoraTrainer<'a> {
    model: &'a GemmaModel,
    lora: Lora,
    adapters: Vec<Adapter>,
    /// `A` and `B` of each adapter, one behind the other. f32.
    matrices: Vec<Array>,
    optimizer: AdamW,
    last: Option<Step>,
}

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
        let adapters = adapters(lora, &model.config);
        let (matrices, optimizer) = with_stream(&model.stream.clone(), || {
            let matrices = adapters.iter().map(|adapter| fresh(adapter, lora));
            let matrices: Vec<[Array; 2]> = matrices.collect::<MlxResult<_>>()?;
            let matrices: Vec<Array> = matrices.into_iter().flatten().collect();
            let optimizer = AdamW::new(&matrices)?;
            eval(matrices.iter().chain(optimizer.state()))?;
            Ok((matrices, optimizer))
        })
        .map_err(framework)?;
        Ok(Self {
            model,
            lora: *lora,
            adapters,
            matrices,
            optimizer,
            last: None,
        })
    }

    /// The mean loss over all tokens but a row's first, and its gradients.
    fn loss_and_gradients(&self, tokens: &TokenBatch) -> Result<Step> {
        let model = self.model;
        let spans = model.decoder.text(tokens.batch(), tokens.len())?;
        let trainable = Trainable {
            lora: &self.lora,
            adapters: &self.adapters,
            matrices: &self.matrices,
        };
        let ids = upload(tokens);
        let step = || {
            let (x, inputs) = model.embed(&ids)?;
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
        };
        let (loss, gradients) = step().map_err(framework)?;
        Ok(Step { loss, gradients })
    }

    /// Has MLX compute what the step left behind; on a GPU it may go on meanwhile.
    fn hand_over(&self, step: &Step) -> MlxResult<()> {
        let state = self.matrices.iter().chain(self.optimizer.state());
        let all = state.chain(&step.gradients).chain([&step.loss]);
        match self.model.asynchronous {
            true => async_eval(all),
            false => eval(all),
        }
    }

    fn last(&self) -> Result<&Step> {
        synchronize(&self.model.stream)?;
        self.last.as_ref().ok_or_else(no_step)
    }
}

impl Drop for LoraTrainer<'_> {
    /// What a training needed isn't kept from the tests that come next.
    fn drop(&mut self) {
        self.last = None;
        memory::clear_cache().unwrap_or_else(|error| eprintln!("warning: MLX's cache: {error}"));
    }
}

impl Trainer for LoraTrainer<'_> {
    fn step(&mut self, tokens: &TokenBatch) -> Result<()> {
        check_batch(tokens, &self.model.config)?;
        // The last step's gradients go first.
        self.last = None;
        with_stream(&self.model.stream.clone(), || {
            let step = self.loss_and_gradients(tokens)?;
            let updated = self
                .optimizer
                .update(&self.lora, &mut self.matrices, &step.gradients);
            updated.map_err(framework)?;
            self.hand_over(&step).map_err(framework)?;
            self.last = Some(step);
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
