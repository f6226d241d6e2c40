//! From token ids to logits: embeddings, layers, output projection.

use mlxbench_core::gemma::Decoder;
use mlxbench_core::gemma::parts::{Norm, Spans};
use mlxbench_core::{GemmaConfig, Result};
use tch::{TchError, Tensor};

use crate::backend::framework;
use crate::framework::{Place, Torch};
use crate::linear::{Linear, Weight};
use crate::norm::RmsNorm;
use crate::per_layer::PerLayerEmbeddings;
use crate::weights::Weights;

/// The parts of a model.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: GemmaConfig,
    pub(crate) place: Place,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Weight,
    embedding_scale: f64,
    per_layer: Option<PerLayerEmbeddings>,
    pub(crate) decoder: Decoder<Torch>,
    pub(crate) norm: RmsNorm,
    pub(crate) lm_head: Linear,
}

/// What a pass ends in, on the device.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The argmax of the logits, of shape `[batch]`, i64.
    pub(crate) tokens: Tensor,
    /// Those of the last position, of shape `[batch, vocab_size]`, in the model's dtype.
    pub(crate) logits: Tensor,
}

impl Network {
    pub(crate) fn load(weights: &Weights<'_>, place: Place) -> Result<Self, TchError> {
        let config = weights.checkpoint.config();
        // Largest first: while a tensor is converted, its file's pages are in memory too.
        let embedding = weights.table("model.embed_tokens.weight", config.hidden_size)?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.shallow_clone(),
            false => weights.table("lm_head.weight", config.hidden_size)?,
        };
        Ok(Self {
            config: config.clone(),
            per_layer: PerLayerEmbeddings::load(weights)?,
            decoder: Decoder::load(config, weights, place.clone())?,
            place,
            embedding,
            embedding_scale: config.embedding_scale(weights.dtype),
            norm: RmsNorm::load(weights, &config.final_norm())?,
            lm_head: Linear::new(lm_head, None),
        })
    }

    /// Appends `ids`, of shape `[batch, tokens]`, to the KV cache, with the logits that follow.
    pub(crate) fn append(&mut self, ids: &Tensor) -> Result<Ending> {
        let spans = self.advance(ids)?;
        self.run(ids, &spans).map_err(framework)
    }

    /// Appends `ids` to the KV cache and computes nothing else.
    pub(crate) fn fill(&mut self, ids: &Tensor) -> Result<()> {
        let spans = self.advance(ids)?;
        let (x, inputs) = self.embed(ids).map_err(framework)?;
        let filled = self.decoder.fill(x, &inputs, &spans);
        filled.map(drop).map_err(framework)
    }

    fn advance(&mut self, ids: &Tensor) -> Result<Spans<Torch>> {
        let (batch, tokens) = ids.size2().map_err(framework)?;
        self.decoder.advance(batch as usize, tokens as usize)
    }

    /// The pass of `spans` over `ids`.
    pub(crate) fn run(&mut self, ids: &Tensor, spans: &Spans<Torch>) -> Result<Ending, TchError> {
        let (x, inputs) = self.embed(ids)?;
        let hidden = self.decoder.run(x, &inputs, spans)?;
        self.project(&hidden)
    }

    /// The embeddings of `ids`, and those for each layer, where there are any.
    pub(crate) fn embed(&self, ids: &Tensor) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let embedded = self.embedding.lookup(ids)?;
        let x = embedded.f_mul_scalar(self.embedding_scale)?;
        let inputs = match &self.per_layer {
            Some(per_layer) => per_layer.forward(ids, &x)?,
            None => Vec::new(),
        };
        Ok((x, inputs))
    }

    /// The last position of `hidden`, of shape `[batch, tokens, hidden_size]`, projected.
    pub(crate) fn project(&self, hidden: &Tensor) -> Result<Ending, TchError> {
        let last = hidden.f_narrow(1, hidden.size()[1] - 1, 1)?;
        let logits = self
            .lm_head
            .forward(&self.norm.forward(&last)?)?
            .f_squeeze_dim(1)?;
        let logits = match self.config.final_logit_softcapping {
            Some(cap) => logits.f_div_scalar(cap)?.f_tanh_()?.f_mul_scalar_(cap)?,
            None => logits,
        };
        Ok(Ending {
            tokens: logits.f_argmax(-1, false)?,
            logits,
        })
    }
}
