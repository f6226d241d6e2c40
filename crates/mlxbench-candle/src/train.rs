//! Training of low-rank adapters by candle's backpropagation: what they are and what a step is, `mlxbench_core::lora`
//! says.

mod adamw;
mod frozen;
mod loss;
mod parts;

use candle_core::{DType, Device, Tensor};
use mlxbench_core::gemma::train::{Text, Trainable};
use mlxbench_core::lora::{
    Adapter, Lora, Trainer, adapters, check_batch, check_trainable, no_step,
};
use mlxbench_core::{Error, Result, TokenBatch};

use crate::linear::Linear;
use crate::model::GemmaModel;
use adamw::AdamW;
pub(crate) use frozen::product;

/// Adapters on a model, and what trains them.
#[derive(Debug)]
pub(crate) struct LoraTrainer<'a> {
    model: &'a GemmaModel,
    lora: Lora,
    adapters: Vec<Adapter>,
    /// `A` and `B` of each adapter, one behind the other. f32.
    matrices: Vec<Tensor>,
    optimizer: AdamW,
    last: Option<Step>,
}

/// What a step leaves behind.
#[derive(Debug)]
struct Step {
    /// A scalar in f32.
    loss: Tensor,
    /// One for each matrix.
    gradients: Vec<Tensor>,
}

impl<'a> LoraTrainer<'a> {
    /// Fresh adapters. The KV caches of the model are gone.
    pub(crate) fn start(model: &'a mut GemmaModel, lora: &Lora) -> Result<Self> {
        lora.check(&model.config)?;
        check_trainable(&model.config, model.place.dtype == DType::F16)?;
        model.decoder.clear();
        let adapters = adapters(lora, &model.config);
        let device = &model.place.device;
        let matrices = adapters.iter().map(|adapter| fresh(adapter, lora, device));
        let matrices = matrices.collect::<Result<Vec<_>, _>>();
        let matrices = matrices.map_err(Error::framework)?;
        let matrices: Vec<Tensor> = matrices.into_iter().flatten().collect();
        Ok(Self {
            optimizer: AdamW::new(&matrices).map_err(Error::framework)?,
            model,
            lora: *lora,
            adapters,
            matrices,
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
        let ids = model.upload(tokens)?;
        let step = || {
            let (x, inputs) = model.embed(&ids, Linear::with_gradient)?;
            let learned = tokens.len() - 1;
            let following = ids.narrow(1, 1, learned)?;
            let loss = |hidden: &Tensor| {
                let logits = model.logits_with_gradient(&hidden.narrow(1, 0, learned)?)?;
                loss::mean_cross_entropy(&logits, &following)
            };
            let text = Text {
                x,
                inputs: &inputs,
                spans: &spans,
            };
            model.decoder.loss_and_gradients(&text, &trainable, loss)
        };
        let (loss, gradients) = step().map_err(Error::framework)?;
        Ok(Step { loss, gradients })
    }

    fn last(&self) -> Result<&Step> {
        self.model
            .place
            .device
            .synchronize()
            .map_err(Error::framework)?;
        self.last.as_ref().ok_or_else(no_step)
    }
}

impl Trainer for LoraTrainer<'_> {
    fn step(&mut self, tokens: &TokenBatch) -> Result<()> {
        check_batch(tokens, &self.model.config)?;
        // The last step's gradients go first.
        self.last = None;
        let step = self.loss_and_gradients(tokens)?;
        let updated = self
            .optimizer
            .update(&self.lora, &mut self.matrices, &step.gradients);
        updated.map_err(Error::framework)?;
        self.last = Some(step);
        Ok(())
    }

    fn loss(&mut self) -> Result<f32> {
        self.last()?.loss.to_scalar().map_err(Error::framework)
    }

    fn gradient_norms(&mut self) -> Result<Vec<f32>> {
        let norm = |gradient: &Tensor| gradient.sqr()?.sum_all()?.sqrt()?.to_scalar();
        let norms = self.last()?.gradients.iter().map(norm);
        norms.collect::<Result<_, _>>().map_err(Error::framework)
    }
}

/// The initial `A` and `B` of an adapter.
fn fresh(adapter: &Adapter, lora: &Lora, device: &Device) -> candle_core::Result<[Tensor; 2]> {
    let a = adapter.initial_a(lora);
    let a = Tensor::from_vec(a, (lora.rank, adapter.in_features), device)?;
    let b = Tensor::zeros((adapter.out_features, lora.rank), DType::F32, device)?;
    Ok([a, b])
}
