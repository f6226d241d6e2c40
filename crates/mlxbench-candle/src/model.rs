//! The whole model: embeddings, layers, output projection.

mod ops;

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor};
use mlxbench_core::backend::{ContextShape, EXPERTS_BY_HOST, OWN_KERNEL, PER_LAYER_BY_HOST, Reads};
use mlxbench_core::gemma::parts::{Norm, Spans};
use mlxbench_core::gemma::{Decoder, Storage};
use mlxbench_core::lora::{Lora, Trainer};
use mlxbench_core::{Error, GemmaConfig, Model, Result, TokenBatch, TokenId, limits};

pub use ops::Session;

use crate::framework::{Candle, Place};
use crate::linear::{Linear, Multiply, Weight, splits_rows};
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerEmbeddings;
use crate::quantised;
use crate::readback::{Readback, Ready};
use crate::train::LoraTrainer;
use crate::weights::{self, Weights};

/// A Gemma text model on a candle device.
#[derive(Debug)]
pub struct GemmaModel {
    pub(crate) config: GemmaConfig,
    pub(crate) place: Place,
    readback: Readback,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Weight,
    embedding_scale: f64,
    per_layer: Option<PerLayerEmbeddings>,
    per_layer_on_cpu: bool,
    pub(crate) decoder: Decoder<Candle>,
    pub(crate) norm: RmsNorm,
    pub(crate) lm_head: Linear,
    /// Where weights are quantised.
    storage: Option<Storage>,
}

/// The last position's logits and their argmax, on the device.
#[derive(Debug)]
pub struct Output {
    /// Shape `[batch]`, u32.
    tokens: Tensor,
    /// What a read of them waits for.
    ready: Ready,
    /// Shape `[batch, vocab_size]`, in the model's dtype.
    logits: Tensor,
}

/// What goes into the layers.
struct Entry {
    /// The tokens' embeddings, of shape `[batch, tokens, hidden_size]`.
    x: Tensor,
    /// Those for each layer, where there are any.
    inputs: Vec<Tensor>,
    spans: Spans<Candle>,
}

impl GemmaModel {
    pub(crate) fn load(weights: &Weights<'_>) -> candle_core::Result<Self> {
        let config = weights.checkpoint.config();
        let dtype = weights::dtype(weights.dtype());
        let positions = config.max_position_embeddings.min(limits::TOKENS);
        let place = Place::new(weights.device, dtype, positions)?;
        // Largest first: while a tensor is converted, its file's pages are in memory too.
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
        let per_layer = PerLayerEmbeddings::load(weights)?;
        let decoder = Decoder::load(config, weights, place.clone())?;
        let norm = RmsNorm::load(weights, &config.final_norm())?;
        let storage = weights.are_quantised().then(|| Storage {
            layers_bytes: weights.layers_bytes(),
            tables_bytes,
            others_bytes: weights.others_bytes(),
            experts_bytes: weights.experts_bytes(),
            per_layer_bytes: per_layer
                .as_ref()
                .map_or(0, PerLayerEmbeddings::table_bytes),
            kv_cache: weights.dtype(),
            activations: quantised::activations(weights.device),
        });
        Ok(Self {
            config: config.clone(),
            decoder,
            readback: Readback::new(weights.device)?,
            place,
            embedding,
            embedding_scale: config.embedding_scale(weights.dtype()),
            per_layer,
            per_layer_on_cpu: weights.per_layer_on_cpu,
            norm,
            lm_head: Linear::new(lm_head, None),
            storage,
        })
    }

    /// What goes into the layers for `ids`, of shape `[batch, tokens]`, and their spans.
    fn enter(&mut self, ids: &Tensor) -> Result<Entry> {
        let (batch, tokens) = ids.dims2().map_err(Error::framework)?;
        let spans = self.decoder.advance(batch, tokens)?;
        let (x, inputs) = self.embed(ids, Linear::forward).map_err(Error::framework)?;
        Ok(Entry { x, inputs, spans })
    }

    /// The embeddings of `ids`, of shape `[batch, tokens]`, and those for each layer, where there are any, by
    /// `multiply`.
    pub(crate) fn embed(
        &self,
        ids: &Tensor,
        multiply: Multiply,
    ) -> candle_core::Result<(Tensor, Vec<Tensor>)> {
        let (batch, tokens) = ids.dims2()?;
        let ids = ids.flatten_all()?;
        let embedded = self.embedding.lookup(&ids, self.place.dtype)?;
        let x = (embedded.reshape((batch, tokens, ()))? * self.embedding_scale)?;
        let inputs = match &self.per_layer {
            Some(per_layer) => per_layer.forward(&ids, &x, multiply)?,
            None => Vec::new(),
        };
        Ok((x, inputs))
    }

    /// Appends `ids`, of shape `[batch, tokens]`, to the KV cache, with the logits that follow.
    fn append(&mut self, ids: &Tensor) -> Result<Output> {
        let Entry { x, inputs, spans } = self.enter(ids)?;
        let hidden = self.decoder.run(x, &inputs, &spans);
        let output = hidden.and_then(|hidden| self.project(&hidden));
        output.map_err(Error::framework)
    }

    /// The last position of `hidden`, of shape `[batch, tokens, hidden_size]`, projected.
    fn project(&self, hidden: &Tensor) -> candle_core::Result<Output> {
        let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.contiguous()?;
        let logits = self
            .lm_head
            .forward(&self.norm.forward(&last)?)?
            .squeeze(1)?;
        let logits = match self.config.final_logit_softcapping {
            Some(cap) => ((logits / cap)?.tanh()? * cap)?,
            None => logits,
        };
        Ok(Output {
            tokens: logits.argmax(D::Minus1)?,
            ready: self.readback.mark()?,
            logits,
        })
    }

    pub(crate) fn upload(&self, tokens: &TokenBatch) -> Result<Tensor> {
        Tensor::from_slice(
            tokens.ids(),
            (tokens.batch(), tokens.len()),
            &self.place.device,
        )
        .map_err(Error::framework)
    }
}

impl Model for GemmaModel {
    type Output = Output;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    fn reads(&self) -> Reads {
        match self.readback.reads() {
            // The host has waited for the step before, whose experts it picked or whose token it looked up.
            Reads::Own if self.config.has_experts() || self.per_layer_on_cpu => Reads::InOrder,
            reads => reads,
        }
    }

    fn kernels(&self) -> BTreeMap<String, String> {
        let Place { device, dtype, .. } = &self.place;
        let experts = self.config.has_experts();
        let experts = experts.then_some(("experts", EXPERTS_BY_HOST));
        let per_layer = self.per_layer_on_cpu.then_some(PER_LAYER_BY_HOST);
        let by_host = [experts, per_layer].into_iter().flatten();
        let by_host = by_host.map(|(part, way)| (part.to_owned(), way.to_owned()));
        if self.storage.is_some() {
            let mut kernels = quantised::kernels(device, *dtype);
            kernels.extend(by_host);
            return kernels;
        }
        let own = splits_rows(device, *dtype).then(|| {
            let way = format!("{OWN_KERNEL}blocks of the matrix's rows, one a thread");
            ("product of a single row".to_owned(), way)
        });
        own.into_iter().chain(by_host).collect()
    }

    fn storage(&self) -> Option<Storage> {
        self.storage.clone()
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        self.decoder.reset(context).map_err(Error::framework)
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        let ids = self.upload(tokens)?;
        let Entry { x, inputs, spans } = self.enter(&ids)?;
        let filled = self.decoder.fill(x, &inputs, &spans);
        filled.map(drop).map_err(Error::framework)
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        let ids = self.upload(tokens)?;
        self.append(&ids)
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        let ids = previous.tokens.unsqueeze(1).map_err(Error::framework)?;
        self.append(&ids)
    }

    fn trainer(&mut self, lora: &Lora) -> Result<Box<dyn Trainer + '_>> {
        Ok(Box::new(LoraTrainer::start(self, lora)?))
    }

    fn rewind(&mut self, position: usize) -> Result<()> {
        self.decoder.rewind(position)
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let tokens =
            Tensor::from_slice(ids, ids.len(), &self.place.device).map_err(Error::framework)?;
        let ready = self.readback.mark().map_err(Error::framework)?;
        Ok(Output {
            tokens,
            ready,
            ..output
        })
    }

    fn read(&mut self, output: &Output) -> Result<Vec<TokenId>> {
        let read = self.readback.read(&output.tokens, &output.ready);
        read.map_err(Error::framework)
    }

    fn logits(&mut self, output: &Output) -> Result<Vec<f32>> {
        let logits = output
            .logits
            .to_dtype(DType::F32)
            .and_then(|logits| logits.flatten_all());
        logits
            .and_then(|logits| logits.to_vec1())
            .map_err(Error::framework)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.place.device.synchronize().map_err(Error::framework)
    }
}
