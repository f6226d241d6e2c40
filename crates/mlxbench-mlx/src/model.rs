//! The whole model: embeddings, layers, output projection.

mod ops;

use std::collections::BTreeMap;

use mlx_rs::error::Result as MlxResult;
use mlx_rs::ops::indexing::{TryIndexOp, argmax_axis};
use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Stream, memory, with_stream};
use mlxbench_core::backend::{ContextShape, PER_LAYER_BY_HOST, Reads};
use mlxbench_core::gemma::parts::{Norm, Spans};
use mlxbench_core::gemma::{Activations, Decoder, Storage};
use mlxbench_core::lora::{Lora, Trainer};
use mlxbench_core::{Error, GemmaConfig, Model, Result, TokenBatch, TokenId};

pub use ops::Session;

use crate::backend::{framework, synchronize};
use crate::cache::KvCache;
use crate::framework::{Mlx, Place};
use crate::fused::{self, SoftCap};
use crate::linear::{Linear, Weight};
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerEmbeddings;
use crate::quantised;
use crate::train::LoraTrainer;
use crate::weights::{self, Weights};

/// A Gemma text model on an MLX stream. Like the stream, it belongs to the thread that loaded it.
#[derive(Debug)]
pub struct GemmaModel {
    pub(crate) config: GemmaConfig,
    pub(crate) place: Place,
    pub(crate) stream: Stream,
    /// Whether the stream is a GPU's. On the CPU MLX lets few operations wait, so handing over a
    /// step was seen to take half of its work.
    pub(crate) asynchronous: bool,
    /// [`Weights::host_waits`].
    host_waits: bool,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Weight,
    /// A scalar in the model's dtype.
    embedding_scale: Array,
    per_layer: Option<PerLayerEmbeddings>,
    pub(crate) decoder: Decoder<Mlx>,
    pub(crate) norm: RmsNorm,
    pub(crate) lm_head: Linear,
    final_softcap: Option<SoftCap>,
    /// Where weights are quantised.
    storage: Option<Storage>,
    kernels: BTreeMap<String, String>,
}

/// The last position's logits and their argmax, on the device.
#[derive(Debug)]
pub struct Output {
    /// Shape `[batch]`, u32.
    tokens: Array,
    /// Shape `[batch, vocab_size]`, in the model's dtype.
    logits: Array,
}

/// What goes into the layers.
struct Entry {
    /// The tokens' embeddings, of shape `[batch, tokens, hidden_size]`.
    x: Array,
    /// Those for each layer, where there are any.
    inputs: Vec<Array>,
    spans: Spans<Mlx>,
}

impl GemmaModel {
    /// Loads to `stream`.
    pub(crate) fn load(weights: &Weights<'_>, stream: Stream) -> MlxResult<Self> {
        let config = weights.checkpoint.config();
        let place = Place {
            dtype: weights::dtype(weights.dtype),
        };
        // Largest first: while a tensor is copied, its file's pages are in memory too.
        let embedding = weights.matrix(&["model.embed_tokens.weight"], config.hidden_size)?;
        let mut tables_bytes = embedding.bytes();
        let lm_head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => {
                let lm_head = weights.matrix(&["lm_head.weight"], config.hidden_size)?;
                tables_bytes += lm_head.bytes();
                lm_head
            }
        };
        let embedding_scale = Array::from_f32(config.embedding_scale(weights.dtype) as f32);
        let per_layer = PerLayerEmbeddings::load(weights)?;
        let decoder = Decoder::load(config, weights, place)?;
        let norm = RmsNorm::load(weights, &config.final_norm())?;
        let storage = weights.quantised.map(|_| Storage {
            layers_bytes: weights.layers_bytes(),
            tables_bytes,
            others_bytes: weights.others_bytes(),
            experts_bytes: weights.experts_bytes(),
            per_layer_bytes: per_layer
                .as_ref()
                .map_or(0, PerLayerEmbeddings::table_bytes),
            kv_cache: weights.dtype,
            activations: Activations::Kept,
        });
        let kernels = weights
            .quantised
            .map(|way| quantised::kernels(way, weights.dtype));
        let mut kernels = kernels.unwrap_or_default();
        kernels.insert(fused::CHAINS.into(), fused::way()?.into());
        if weights.per_layer_on_cpu {
            let (part, way) = PER_LAYER_BY_HOST;
            kernels.insert(part.into(), way.into());
        }
        Ok(Self {
            config: config.clone(),
            stream,
            asynchronous: weights.gpu,
            host_waits: weights.host_waits,
            decoder,
            place,
            embedding,
            embedding_scale: embedding_scale.as_dtype(place.dtype)?,
            per_layer,
            norm,
            lm_head: Linear::new(lm_head, None),
            final_softcap: config.final_logit_softcapping.map(SoftCap::new),
            storage,
            kernels,
        })
    }

    /// What goes into the layers for `ids`, of shape `[batch, tokens]`, and their spans.
    fn enter(&mut self, ids: &Array) -> Result<Entry> {
        let (batch, tokens) = (ids.dim(0) as usize, ids.dim(1) as usize);
        let spans = self.decoder.advance(batch, tokens)?;
        let (x, inputs) = self.embed(ids).map_err(framework)?;
        Ok(Entry { x, inputs, spans })
    }

    /// The embeddings of `ids`, of shape `[batch, tokens]`, and those for each layer, where there are any.
    pub(crate) fn embed(&self, ids: &Array) -> MlxResult<(Array, Vec<Array>)> {
        let embedded = self.embedding.lookup(ids, self.place.dtype)?;
        let x = embedded.multiply(&self.embedding_scale)?;
        let inputs = match &self.per_layer {
            Some(per_layer) => per_layer.forward(ids, &x)?,
            None => Vec::new(),
        };
        Ok((x, inputs))
    }

    /// Peak of MLX's memory since it was reset, where all of it is the device's.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        // On CUDA MLX counts what lies in the host's memory, too.
        let peak = memory::peak_memory().ok().filter(|_| !self.host_waits);
        peak.map(|bytes| bytes as u64)
    }

    /// Appends `ids`, of shape `[batch, tokens]`, to the KV cache, with the logits that follow.
    fn append(&mut self, ids: &Array) -> Result<Output> {
        let Entry { x, inputs, spans } = self.enter(ids)?;
        let hidden = self.decoder.run(x, &inputs, &spans);
        let output = hidden.and_then(|hidden| self.project(&hidden));
        output.map_err(framework)
    }

    /// Has MLX compute the KV caches, and so all that they are made from, and `beside`.
    fn evaluate_caches(&self, beside: Option<&Array>) -> Result<()> {
        let caches = self.decoder.caches().iter();
        eval(caches.flat_map(KvCache::arrays).chain(beside)).map_err(framework)
    }

    /// The last position of `hidden`, of shape `[batch, tokens, hidden_size]`, projected. Its
    /// computation is under way when this returns.
    fn project(&self, hidden: &Array) -> MlxResult<Output> {
        let last = hidden.try_index((.., -1.., ..))?;
        let logits = self
            .lm_head
            .forward(&self.norm.forward(&last)?)?
            .squeeze_axes(&[1])?;
        let logits = match &self.final_softcap {
            Some(softcap) => softcap.forward(&logits)?,
            None => logits,
        };
        let tokens = argmax_axis(&logits, -1, None)?;
        async_eval([&tokens])?;
        Ok(Output { tokens, logits })
    }
}

impl Model for GemmaModel {
    type Output = Output;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// On a GPU a read waits for the event behind its own array.
    fn reads(&self) -> Reads {
        match self.asynchronous {
            true if self.host_waits => Reads::InOrder,
            true => Reads::Own,
            false => Reads::Immediate,
        }
    }

    fn kernels(&self) -> BTreeMap<String, String> {
        self.kernels.clone()
    }

    fn storage(&self) -> Option<Storage> {
        self.storage.clone()
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        // The old cache goes first: two may not fit.
        self.decoder.clear();
        memory::reset_peak_memory().map_err(framework)?;
        with_stream(&self.stream.clone(), || {
            self.decoder.reset(context).map_err(framework)?;
            self.evaluate_caches(None)
        })
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        with_stream(&self.stream.clone(), || {
            let Entry { x, inputs, spans } = self.enter(&upload(tokens))?;
            let last = self.decoder.fill(x, &inputs, &spans).map_err(framework)?;
            // Caches alone would leave out the layers that write none, which other frameworks run.
            self.evaluate_caches(Some(&last))?;
            memory::clear_cache().map_err(framework)
        })
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        with_stream(&self.stream.clone(), || self.append(&upload(tokens)))
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        with_stream(&self.stream.clone(), || {
            let ids = previous.tokens.expand_dims(1).map_err(framework)?;
            self.append(&ids)
        })
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let tokens = Array::from_slice(ids, &[ids.len() as i32]);
        Ok(Output { tokens, ..output })
    }

    fn trainer(&mut self, lora: &Lora) -> Result<Box<dyn Trainer + '_>> {
        Ok(Box::new(LoraTrainer::start(self, lora)?))
    }

    fn rewind(&mut self, position: usize) -> Result<()> {
        self.decoder.rewind(position)
    }

    fn read(&mut self, output: &Output) -> Result<Vec<TokenId>> {
        output.tokens.to_vec_exact().map_err(Error::framework)
    }

    fn logits(&mut self, output: &Output) -> Result<Vec<f32>> {
        with_stream(&self.stream, || {
            output.logits.to_vec_cast().map_err(Error::framework)
        })
    }

    fn synchronize(&mut self) -> Result<()> {
        synchronize(&self.stream)
    }

    fn device_peak_bytes(&self) -> Option<u64> {
        self.peak_bytes()
    }
}

pub(crate) fn upload(tokens: &TokenBatch) -> Array {
    Array::from_slice(tokens.ids(), &[tokens.batch() as i32, tokens.len() as i32])
}
