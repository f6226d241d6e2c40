//! Training of low-rank adapters by libtorch's autograd: what they are and what a step is, `mlxbench_core::lora` says.

mod adamw;
mod frozen;
mod loss;
mod parts;

use mlxbench_core::gemma::train::{Text, Trainable};
use mlxbench_core::lora::{
    Adapter, Lora, Trainer, adapters, check_batch, check_trainable, no_step,
};
use mlxbench_core::{Result, TokenBatch};
use tch::{Device, Kind, TchError, Tensor};

use crate::backend::{accelerator, framework, synchronize};
use crate::network::Network;
use crate::shim;
use adamw::AdamW;
pub(crate) use frozen::product;

/// Adapters on a network, and what trains them.
#[derive(Debug)]
pub(crate) struct LoraTrainer<'a> {
    network: &'a Network,
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
    /// Fresh adapters. The KV caches of the network are gone.
    pub(crate) fn start(network: &'a mut Network, lora: &Lora) -> Result<Self> {
        lora.check(&network.config)?;
        check_trainable(&network.config, network.place.dtype == Kind::Half)?;
        network.decoder.clear();
        let device = network.place.device;
        if let Some(index) = accelerator(device) {
            shim::reset_peak(index);
        }
        let adapters = adapters(lora, &network.config);
        let matrices = adapters.iter().map(|adapter| fresh(adapter, lora, device));
        let matrices = matrices.collect::<Result<Vec<_>, _>>().map_err(framework)?;
        let matrices: Vec<Tensor> = matrices.into_iter().flatten().collect();
        Ok(Self {
            optimizer: AdamW::new(&matrices).map_err(framework)?,
            network,
            lora: *lora,
            adapters,
            matrices,
            last: None,
        })
    }

    /// The mean loss over all tokens but a row's first, and its gradients.
    fn loss_and_gradients(&self, tokens: &TokenBatch) -> Result<Step> {
        let (network, device) = (self.network, self.network.place.device);
        let spans = network.decoder.text(tokens.batch(), tokens.len())?;
        let trainable = Trainable {
            lora: &self.lora,
            adapters: &self.adapters,
            matrices: &self.matrices,
        };
        let step = || {
            let ids: Vec<i64> = tokens.ids().iter().map(|&id| id.into()).collect();
            let shape = [tokens.batch() as i64, tokens.len() as i64];
            let ids = Tensor::f_from_slice(&ids)?
                .f_view(shape)?
                .f_to_device(device)?;
            let (x, inputs) = network.embed(&ids)?;
            let following = ids.f_narrow(1, 1, shape[1] - 1)?;
            let loss = |hidden: &Tensor| {
                let before = hidden.f_narrow(1, 0, shape[1] - 1)?;
                let logits = network.logits_with_gradient(&before)?;
                loss::mean_cross_entropy(&logits, &following)
            };
            let text = Text {
                x,
                inputs: &inputs,
                spans: &spans,
            };
            network.decoder.loss_and_gradients(&text, &trainable, loss)
        };
        let (loss, gradients) = step().map_err(framework)?;
        Ok(Step { loss, gradients })
    }

    fn last(&self) -> Result<&Step> {
        synchronize(self.network.place.device)?;
        self.last.as_ref().ok_or_else(no_step)
    }
}

impl Trainer for LoraTrainer<'_> {
    fn step(&mut self, tokens: &TokenBatch) -> Result<()> {
        check_batch(tokens, &self.network.config)?;
        // The last step's gradients go first.
        self.last = None;
        let step = self.loss_and_gradients(tokens)?;
        let updated = self
            .optimizer
            .update(&self.lora, &mut self.matrices, &step.gradients);
        updated.map_err(framework)?;
        self.last = Some(step);
        Ok(())
    }

    fn loss(&mut self) -> Result<f32> {
        f32::try_from(&self.last()?.loss).map_err(framework)
    }

    fn gradient_norms(&mut self) -> Result<Vec<f32>> {
        let norms = self.last()?.gradients.iter();
        let norms = norms.map(|gradient| f32::try_from(gradient.f_norm()?));
        norms.collect::<Result<_, _>>().map_err(framework)
    }

    fn device_peak_bytes(&self) -> Option<u64> {
        accelerator(self.network.place.device).and_then(shim::peak_bytes)
    }
}

/// The initial `A` and `B` of an adapter.
fn fresh(adapter: &Adapter, lora: &Lora, device: Device) -> Result<[Tensor; 2], TchError> {
    let shape = |rows: usize, columns: usize| [rows as i64, columns as i64];
    let a = Tensor::f_from_slice(&adapter.initial_a(lora))?
        .f_view(shape(lora.rank, adapter.in_features))?
        .f_to_device(device)?;
    let b = shape(adapter.out_features, lora.rank);
    let b = Tensor::f_zeros(b, (Kind::Float, device))?;
    Ok([a, b])
}
