//! The whole model: embeddings, layers, output projection.

mod ops;

use mlxbench_core::backend::{ContextShape, Reads};
use mlxbench_core::gemma::Decoder;
use mlxbench_core::gemma::parts::{Norm, Spans};
use mlxbench_core::{GemmaConfig, Model, Result, TokenBatch, TokenId};
use tch::{Device, Kind, TchError, Tensor, no_grad};

pub use ops::Session;

use crate::backend::{accelerator, framework, synchronize};
use crate::framework::{Place, Torch};
use crate::linear::Linear;
use crate::norm::RmsNorm;
use crate::readback::Readback;
use crate::shim;
use crate::weights::{self, Weights};

/// A Gemma text model on a libtorch device.
#[derive(Debug)]
pub struct GemmaModel {
    config: GemmaConfig,
    place: Place,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Tensor,
    embedding_scale: f64,
    decoder: Decoder<Torch>,
    norm: RmsNorm,
    lm_head: Linear,
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
    pub(crate) fn load(weights: &Weights<'_>) -> TchResult<Self> {
        let config = weights.checkpoint.config();
        let place = Place {
            device: weights.device,
            dtype: weights::dtype(weights.dtype),
        };
        // Largest first: while a tensor is converted, its file's pages are in memory too.
        let embedding = weights.matrix(&["model.embed_tokens.weight"], config.hidden_size)?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.shallow_clone(),
            false => weights.matrix(&["lm_head.weight"], config.hidden_size)?,
        };
        Ok(Self {
            config: config.clone(),
            decoder: Decoder::load(config, weights, place)?,
            place,
            embedding,
            embedding_scale: config.embedding_scale(weights.dtype),
            norm: RmsNorm::load(weights, "model.norm.weight", config.rms_norm_eps)?,
            lm_head: Linear::new(lm_head, None),
        })
    }

    /// What goes into the layers for `ids`, of shape `[batch, tokens]`, and their spans.
    fn enter(&mut self, ids: &Tensor) -> Result<(Tensor, Spans<Torch>)> {
        let (batch, tokens) = ids.size2().map_err(framework)?;
        let spans = self.decoder.advance(batch as usize, tokens as usize)?;
        let embedded = Tensor::f_embedding(&self.embedding, ids, -1, false, false);
        let scaled = embedded.and_then(|x| x.f_mul_scalar(self.embedding_scale));
        Ok((scaled.map_err(framework)?, spans))
    }

    /// Appends `ids`, of shape `[batch, tokens]`, to the KV cache, with the logits that follow.
    fn append(&mut self, ids: &Tensor) -> Result<Output> {
        let (x, spans) = self.enter(ids)?;
        let hidden = self.decoder.run(x, &spans);
        let output = hidden.and_then(|hidden| self.project(&hidden));
        output.map_err(framework)
    }

    /// The last position of `hidden`, of shape `[batch, tokens, hidden_size]`, projected.
    fn project(&self, hidden: &Tensor) -> TchResult<Output> {
        let last = hidden.f_narrow(1, hidden.size()[1] - 1, 1)?;
        let logits = self
            .lm_head
            .forward(&self.norm.forward(&last)?)?
            .f_squeeze_dim(1)?;
        let logits = match self.config.final_logit_softcapping {
            Some(cap) => logits.f_div_scalar(cap)?.f_tanh_()?.f_mul_scalar_(cap)?,
            None => logits,
        };
        Output::new(logits.f_argmax(-1, false)?, logits)
    }

    fn upload(&self, tokens: &TokenBatch) -> TchResult<Tensor> {
        let ids: Vec<i64> = tokens.ids().iter().map(|&id| id.into()).collect();
        Tensor::f_from_slice(&ids)?
            .f_view([tokens.batch() as i64, tokens.len() as i64])?
            .f_to_device(self.place.device)
    }
}

impl Model for GemmaModel {
    type Output = Output;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// On CUDA tokens have a stream of their own to the host. MPS has one stream: there a copy
    /// waits for all that is queued, and what reads one token alone hasn't been tried.
    fn reads(&self) -> Reads {
        match self.place.device {
            Device::Cpu => Reads::Immediate,
            Device::Cuda(_) => Reads::Own,
            Device::Mps | Device::Vulkan => Reads::InOrder,
        }
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        // The old cache goes first: two may not fit.
        self.decoder.clear();
        if let Some(index) = accelerator(self.place.device) {
            shim::reset_peak(index);
        }
        self.decoder.reset(context).map_err(framework)
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        no_grad(|| {
            let ids = self.upload(tokens).map_err(framework)?;
            let (x, spans) = self.enter(&ids)?;
            self.decoder.fill(x, &spans).map_err(framework)
        })
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        no_grad(|| {
            let ids = self.upload(tokens).map_err(framework)?;
            self.append(&ids)
        })
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        no_grad(|| {
            let ids = previous.tokens.f_unsqueeze(1).map_err(framework)?;
            self.append(&ids)
        })
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
        // Without waiting for the steps that are queued.
        let tokens = Tensor::f_from_slice(&ids)
            .and_then(|ids| ids.f_to_device_(self.place.device, Kind::Int64, true, false));
        tokens
            .and_then(|tokens| Output::new(tokens, output.logits))
            .map_err(framework)
    }

    fn rewind(&mut self, position: usize) -> Result<()> {
        self.decoder.rewind(position)
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
        let logits = output.logits.f_to_kind(Kind::Float);
        let logits = logits.and_then(|logits| logits.f_reshape([-1]));
        logits.and_then(Vec::try_from).map_err(framework)
    }

    fn synchronize(&mut self) -> Result<()> {
        synchronize(self.place.device)
    }

    fn device_peak_bytes(&self) -> Option<u64> {
        accelerator(self.place.device).and_then(shim::peak_bytes)
    }
}

impl Output {
    fn new(tokens: Tensor, logits: Tensor) -> TchResult<Self> {
        let readback = match tokens.device() {
            Device::Cuda(_) => Some(Readback::start(&tokens)?),
            _ => None,
        };
        Ok(Self {
            tokens,
            readback,
            logits,
        })
    }
}
