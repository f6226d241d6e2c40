//! A model as the generation loop knows it.

mod ops;

use std::collections::BTreeMap;
use std::sync::Arc;

use mlxbench_core::backend::{ContextShape, EXPERTS_BY_HOST, PER_LAYER_BY_HOST, Reads};
use mlxbench_core::gemma::Storage;
use mlxbench_core::lora::{Lora, Trainer};
use mlxbench_core::{Error, GemmaConfig, Model, Result, TokenBatch, TokenId};
use tch::{Device, Kind, TchError, Tensor};

pub use ops::Session;

use crate::backend::{accelerator, framework, synchronize};
use crate::framework::Place;
use crate::inference::inference;
use crate::kernels::Kernels;
use crate::network::{Ending, Network};
use crate::readback::Readback;
use crate::replays::Replays;
use crate::train::LoraTrainer;
use crate::weights::{self, Weights};
use crate::{quantised, shim};

/// A Gemma text model on a libtorch device.
#[derive(Debug)]
pub struct GemmaModel {
    /// Where steps are replayed. They go before what they read and write.
    replays: Option<Replays>,
    network: Network,
    per_layer_on_cpu: bool,
    /// How weights are kept, and the names of their products, where they are quantised.
    quantised: Option<(Storage, BTreeMap<String, String>)>,
}

type TchResult<T> = std::result::Result<T, TchError>;

/// The last position's logits and their argmax, on the device.
#[derive(Debug)]
pub struct Output {
    /// Shape `[batch]`, i64.
    tokens: Tensor,
    /// Their copy on its way to the host, where reads wait for their own step.
    readback: Option<Readback>,
    /// Shape `[batch, vocab_size]`, in the model's dtype.
    logits: Tensor,
}

impl GemmaModel {
    /// `replayed`: single tokens are appended by replay of CUDA graphs.
    pub(crate) fn load(weights: &Weights<'_>, replayed: bool) -> TchResult<Self> {
        let (device, dtype) = (weights.device, weights::dtype(weights.dtype));
        let layers = weights.checkpoint.config().layers.iter();
        let attentions = layers.map(|layer| &layer.attention);
        let place = Place {
            device,
            dtype,
            kernels: Arc::new(Kernels::try_all(attentions, (dtype, device))?),
        };
        let network = Network::load(weights, place)?;
        let named = |scheme| (weights.storage(), quantised::names(scheme, (dtype, device)));
        Ok(Self {
            replays: replayed.then(Replays::default),
            network,
            per_layer_on_cpu: weights.per_layer_on_cpu,
            quantised: weights.scheme.map(named),
        })
    }

    /// The parts alone.
    #[cfg(test)]
    pub(crate) fn into_network(self) -> Network {
        self.network
    }

    fn upload(&self, tokens: &TokenBatch) -> Result<Tensor> {
        let ids: Vec<i64> = tokens.ids().iter().map(|&id| id.into()).collect();
        let shape = [tokens.batch() as i64, tokens.len() as i64];
        let uploaded = Tensor::f_from_slice(&ids)
            .and_then(|ids| ids.f_view(shape))
            .and_then(|ids| ids.f_to_device(self.network.place.device));
        uploaded.map_err(framework)
    }
}

impl Model for GemmaModel {
    type Output = Output;

    fn config(&self) -> &GemmaConfig {
        &self.network.config
    }

    /// On CUDA tokens have a stream of their own to the host. MPS has one stream: there a copy
    /// waits for all that is queued, and what reads one token alone hasn't been tried.
    fn reads(&self) -> Reads {
        match self.network.place.device {
            Device::Cpu => Reads::Immediate,
            // The host has waited for the step before, whose experts it picked or whose token it looked up.
            Device::Cuda(_) if self.network.config.has_experts() || self.per_layer_on_cpu => {
                Reads::InOrder
            }
            Device::Cuda(_) => Reads::Own,
            Device::Mps | Device::Vulkan => Reads::InOrder,
        }
    }

    fn kernels(&self) -> BTreeMap<String, String> {
        let mut names = self.network.place.kernels.names(self.replays.is_some());
        let of_products = self.quantised.iter().flat_map(|(_, names)| names.clone());
        names.extend(of_products);
        if self.network.config.has_experts() {
            names.insert("experts".into(), EXPERTS_BY_HOST.into());
        }
        if self.per_layer_on_cpu {
            let (part, way) = PER_LAYER_BY_HOST;
            names.insert(part.into(), way.into());
        }
        names
    }

    fn storage(&self) -> Option<Storage> {
        self.quantised.as_ref().map(|(storage, _)| storage.clone())
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        let network = &mut self.network;
        inference(|| {
            let peak = accelerator(network.place.device);
            let reset_peak = || peak.map(shim::reset_peak);
            // What is read of a cache was written in its context, or is hidden: the memory can stay.
            let renewed = match &mut self.replays {
                Some(replays) => replays.renew(network, context).map_err(framework)?,
                None => network.decoder.restart(context),
            };
            if renewed {
                reset_peak();
                return Ok(());
            }
            if let Some(replays) = &mut self.replays {
                replays.clear();
            }
            // The old cache goes first: two may not fit.
            network.decoder.clear();
            reset_peak();
            network.decoder.reset(context).map_err(framework)?;
            match &mut self.replays {
                Some(replays) => replays.record(network, context.batch),
                None => Ok(()),
            }
        })
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        inference(|| {
            let ids = self.upload(tokens)?;
            self.network.fill(&ids)
        })
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        inference(|| {
            let ids = self.upload(tokens)?;
            Output::new(self.network.append(&ids)?)
        })
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        inference(|| {
            let (network, tokens) = (&mut self.network, &previous.tokens);
            Output::new(match &self.replays {
                Some(replays) => replays.step(network, tokens)?,
                None => network.append(&tokens.f_unsqueeze(1).map_err(framework)?)?,
            })
        })
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
        let device = self.network.place.device;
        inference(|| {
            // Without waiting for the steps that are queued.
            let tokens = Tensor::f_from_slice(&ids)
                .and_then(|ids| ids.f_to_device_(device, Kind::Int64, true, false));
            Output::new(Ending {
                tokens: tokens.map_err(framework)?,
                logits: output.logits,
            })
        })
    }

    fn trainer(&mut self, lora: &Lora) -> Result<Box<dyn Trainer + '_>> {
        if self.replays.is_some() {
            return Err(Error::Unsupported(
                "a training isn't replayed as a CUDA graph: take the device without +graph".into(),
            ));
        }
        let trainer = LoraTrainer::start(&mut self.network, lora)?;
        Ok(Box::new(trainer))
    }

    fn rewind(&mut self, position: usize) -> Result<()> {
        self.network.decoder.rewind(position)
    }

    fn read(&mut self, output: &Output) -> Result<Vec<TokenId>> {
        let ids = match &output.readback {
            Some(readback) => readback.wait(),
            None => Vec::<i64>::try_from(&output.tokens),
        };
        let ids = ids.map_err(framework)?;
        Ok(ids.into_iter().map(|id| id as TokenId).collect())
    }

    fn logits(&mut self, output: &Output) -> Result<Vec<f32>> {
        inference(|| {
            let logits = output.logits.f_to_kind(Kind::Float);
            let logits = logits.and_then(|logits| logits.f_reshape([-1]));
            logits.and_then(Vec::try_from).map_err(framework)
        })
    }

    fn synchronize(&mut self) -> Result<()> {
        synchronize(self.network.place.device)
    }

    fn device_peak_bytes(&self) -> Option<u64> {
        accelerator(self.network.place.device).and_then(shim::peak_bytes)
    }
}

impl Output {
    fn new(Ending { tokens, logits }: Ending) -> Result<Self> {
        let readback = match tokens.device() {
            Device::Cuda(_) => Some(Readback::start(&tokens).map_err(framework)?),
            _ => None,
        };
        Ok(Self {
            tokens,
            readback,
            logits,
        })
    }
}
