//! The whole model: embeddings, layers, output projection.

mod ops;

use candle_core::{D, DType, Device, Tensor};
use mlxbench_core::backend::{ContextShape, Reads};
use mlxbench_core::gemma::cache::CacheCursor;
use mlxbench_core::gemma::{LayerKind, mask};
use mlxbench_core::{Error, GemmaConfig, Model, Result, TokenBatch, TokenId};

pub use ops::PreparedOp;

use crate::attention::{Attention, Span};
use crate::cache::KvCache;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;
use crate::weights::{self, LayerWeights, Weights};

/// A Gemma text model on a candle device.
#[derive(Debug)]
pub struct GemmaModel {
    config: GemmaConfig,
    device: Device,
    dtype: DType,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Tensor,
    embedding_scale: f64,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
    context: Option<Context>,
}

/// The last position's logits and their argmax, on the device.
#[derive(Debug)]
pub struct Output {
    /// Shape `[batch]`, u32.
    tokens: Tensor,
    /// Shape `[batch, vocab_size]`, in the model's dtype.
    logits: Tensor,
}

/// One layer. Gemma 1 normalises what goes into attention and MLP; Gemma 2 and 3 also what comes
/// out.
#[derive(Debug)]
struct Layer {
    kind: LayerKind,
    attention: Attention,
    mlp: Mlp,
    attention_norm: RmsNorm,
    attention_post_norm: Option<RmsNorm>,
    mlp_norm: RmsNorm,
    mlp_post_norm: Option<RmsNorm>,
}

/// What [`Model::reset`] makes room for.
#[derive(Debug)]
struct Context {
    batch: usize,
    kinds: Vec<(LayerKind, KindContext)>,
    /// One a layer.
    caches: Vec<KvCache>,
}

/// What the layers of one kind share from pass to pass.
#[derive(Debug)]
struct KindContext {
    window: Option<usize>,
    cursor: CacheCursor,
    rope: Rope,
}

impl GemmaModel {
    pub(crate) fn load(weights: &Weights<'_>) -> candle_core::Result<Self> {
        let config = weights.checkpoint.config();
        // Largest first: while a tensor is converted, its file's pages are in memory too.
        let embedding = weights.matrix(&["model.embed_tokens.weight"], config.hidden_size)?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => weights.matrix(&["lm_head.weight"], config.hidden_size)?,
        };
        let layers = config.layers.iter().enumerate();
        let layers = layers.map(|(index, &kind)| Layer::load(config, kind, &weights.layer(index)));
        Ok(Self {
            config: config.clone(),
            device: weights.device.clone(),
            dtype: weights::dtype(weights.dtype),
            embedding,
            embedding_scale: config.embedding_scale(weights.dtype),
            layers: layers.collect::<candle_core::Result<_>>()?,
            norm: RmsNorm::new(weights.norm("model.norm.weight")?, config.rms_norm_eps),
            lm_head: Linear::new(lm_head, None),
            context: None,
        })
    }

    fn make_context(&self, shape: ContextShape) -> candle_core::Result<Context> {
        let mut kinds = Vec::new();
        for kind in [LayerKind::Global, LayerKind::Local] {
            if self.config.layers.contains(&kind) {
                let window = self.config.window(kind);
                let cursor = CacheCursor::new(shape.capacity, shape.chunk, window);
                let rope = Rope::new(&self.config, kind, shape.capacity, self.dtype, &self.device)?;
                kinds.push((
                    kind,
                    KindContext {
                        window,
                        cursor,
                        rope,
                    },
                ));
            }
        }
        let caches = self.layers.iter().map(|layer| {
            let capacity = of_kind(&kinds, layer.kind).cursor.capacity();
            KvCache::new(
                &self.config,
                shape.batch,
                capacity,
                self.dtype,
                &self.device,
            )
        });
        let caches = caches.collect::<candle_core::Result<_>>()?;
        Ok(Context {
            batch: shape.batch,
            kinds,
            caches,
        })
    }

    /// Runs the layers on `ids`, of shape `[batch, tokens]`, and appends to the KV cache. The
    /// result has shape `[batch, tokens, hidden_size]`.
    fn hidden(&mut self, ids: &Tensor) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2().map_err(Error::framework)?;
        let context = self.context.as_mut().ok_or_else(|| no_room("nothing"))?;
        if batch != context.batch {
            return Err(no_room(&format!("{} rows, not {batch},", context.batch)));
        }
        let spans = context.advance(tokens, &self.device)?;
        let run = || -> candle_core::Result<Tensor> {
            let embedded = self.embedding.index_select(&ids.flatten_all()?, 0)?;
            let mut x = (embedded.reshape((batch, tokens, ()))? * self.embedding_scale)?;
            for (layer, cache) in self.layers.iter().zip(&context.caches) {
                x = layer.forward(x, of_kind(&spans, layer.kind), cache)?;
            }
            Ok(x)
        };
        run().map_err(Error::framework)
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
            logits,
        })
    }

    fn upload(&self, tokens: &TokenBatch) -> Result<Tensor> {
        Tensor::from_slice(tokens.ids(), (tokens.batch(), tokens.len()), &self.device)
            .map_err(Error::framework)
    }
}

impl Model for GemmaModel {
    type Output = Output;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// On GPUs candle copies to the host on the stream of the steps, and has no event or second
    /// stream that a copy of one token could wait by.
    fn reads(&self) -> Reads {
        match self.device.is_cpu() {
            true => Reads::Immediate,
            false => Reads::InOrder,
        }
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        // The old cache goes first: two may not fit.
        self.context = None;
        self.context = Some(self.make_context(context).map_err(Error::framework)?);
        Ok(())
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        let ids = self.upload(tokens)?;
        self.hidden(&ids).map(drop)
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        let ids = self.upload(tokens)?;
        let hidden = self.hidden(&ids)?;
        self.project(&hidden).map_err(Error::framework)
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        let ids = previous.tokens.unsqueeze(1).map_err(Error::framework)?;
        let hidden = self.hidden(&ids)?;
        self.project(&hidden).map_err(Error::framework)
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let tokens = Tensor::from_slice(ids, ids.len(), &self.device).map_err(Error::framework)?;
        Ok(Output { tokens, ..output })
    }

    fn read(&mut self, output: &Output) -> Result<Vec<TokenId>> {
        output.tokens.to_vec1().map_err(Error::framework)
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
        self.device.synchronize().map_err(Error::framework)
    }
}

impl Layer {
    fn load(
        config: &GemmaConfig,
        kind: LayerKind,
        weights: &LayerWeights<'_>,
    ) -> candle_core::Result<Self> {
        let norm = |name: &str| {
            let factor = weights.norm(&format!("{name}_layernorm.weight"))?;
            Ok::<_, candle_core::Error>(RmsNorm::new(factor, config.rms_norm_eps))
        };
        let attention = Attention::load(config, weights)?;
        let mlp = Mlp::load(config, weights)?;
        let attention_norm = norm("input")?;
        // The same name means another place in Gemma 1: there it stands before the MLP.
        let post_attention = norm("post_attention")?;
        let (attention_post_norm, mlp_norm, mlp_post_norm) = match config.has_post_norms() {
            true => (
                Some(post_attention),
                norm("pre_feedforward")?,
                Some(norm("post_feedforward")?),
            ),
            false => (None, post_attention, None),
        };
        Ok(Self {
            kind,
            attention,
            mlp,
            attention_norm,
            attention_post_norm,
            mlp_norm,
            mlp_post_norm,
        })
    }

    /// From `[batch, tokens, hidden_size]` to the same shape; appends to `cache`.
    fn forward(&self, x: Tensor, span: &Span, cache: &KvCache) -> candle_core::Result<Tensor> {
        let y = self
            .attention
            .forward(&self.attention_norm.forward(&x)?, span, cache)?;
        let x = (x + after(self.attention_post_norm.as_ref(), y)?)?;
        let y = self.mlp.forward(&self.mlp_norm.forward(&x)?)?;
        x + after(self.mlp_post_norm.as_ref(), y)?
    }
}

impl Context {
    /// Moves on by `tokens` and says what that means for layers of each kind.
    fn advance(&mut self, tokens: usize, device: &Device) -> Result<Vec<(LayerKind, Span)>> {
        let kinds = self.kinds.iter_mut();
        kinds
            .map(|(kind, shared)| Ok((*kind, shared.advance(tokens, device)?)))
            .collect()
    }
}

impl KindContext {
    /// Moves on by `tokens` and says what that means for layers of this kind.
    fn advance(&mut self, tokens: usize, device: &Device) -> Result<Span> {
        let start = self.cursor.position();
        let append = self
            .cursor
            .append(tokens)
            .ok_or_else(|| no_room("fewer tokens"))?;
        let (first, read) = (append.read_position, append.read.len());
        let mask = (tokens > 1).then(|| {
            let mask = mask::additive(start, tokens, first, read, self.window);
            Tensor::from_vec(mask, (tokens, read), device)
        });
        let rope = self
            .rope
            .at(start..start + tokens)
            .map_err(Error::framework)?;
        Ok(Span {
            append,
            mask: mask.transpose().map_err(Error::framework)?,
            rope,
        })
    }
}

fn of_kind<T>(items: &[(LayerKind, T)], kind: LayerKind) -> &T {
    let found = items.iter().find(|(other, _)| *other == kind);
    &found
        .expect("made for every kind of layer that the model has")
        .1
}

/// `y`, normalised in the generations that do so.
fn after(norm: Option<&RmsNorm>, y: Tensor) -> candle_core::Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&y),
        None => Ok(y),
    }
}

fn no_room(made_for: &str) -> Error {
    Error::Invalid(format!(
        "the KV cache was made for {made_for}: reset the model first"
    ))
}
