//! The whole model: embeddings, layers, output projection.

mod ops;

use mlx_rs::error::Result as MlxResult;
use mlx_rs::ops::indexing::{TryIndexOp, argmax_axis};
use mlx_rs::transforms::{async_eval, eval};
use mlx_rs::{Array, Dtype, Stream, memory, with_stream};
use mlxbench_core::backend::{ContextShape, Reads};
use mlxbench_core::gemma::cache::CacheCursor;
use mlxbench_core::gemma::{LayerKind, mask};
use mlxbench_core::{Error, GemmaConfig, Model, Result, TokenBatch, TokenId};

pub use ops::PreparedOp;

use crate::attention::{Attention, Mask, Span};
use crate::backend::{framework, synchronize};
use crate::cache::KvCache;
use crate::fused::SoftCap;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;
use crate::weights::{self, LayerWeights, Weights};

/// A Gemma of any generation, on an MLX stream. Like the stream, it belongs to the thread that
/// loaded it.
#[derive(Debug)]
pub struct GemmaModel {
    config: GemmaConfig,
    stream: Stream,
    /// Whether the stream is a GPU's. On the CPU MLX lets few operations wait, so handing over a
    /// step was seen to take half of its work.
    asynchronous: bool,
    dtype: Dtype,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Array,
    /// A scalar in the model's dtype.
    embedding_scale: Array,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
    final_softcap: Option<SoftCap>,
    context: Option<Context>,
}

/// The last position's logits and their argmax, on the device.
#[derive(Debug)]
pub struct Output {
    /// Shape `[batch]`, u32.
    tokens: Array,
    /// Shape `[batch, vocab_size]`, in the model's dtype.
    logits: Array,
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
    /// Whether attention is MLX's own, which knows causal masks.
    fused_attention: bool,
}

impl GemmaModel {
    /// Loads to `stream`, which is of a GPU when `asynchronous`.
    pub(crate) fn load(
        weights: &Weights<'_>,
        stream: Stream,
        asynchronous: bool,
    ) -> MlxResult<Self> {
        let config = weights.checkpoint.config();
        // Largest first: while a tensor is copied, its file's pages are in memory too.
        let embedding = weights.matrix(&["model.embed_tokens.weight"], config.hidden_size)?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => weights.matrix(&["lm_head.weight"], config.hidden_size)?,
        };
        let layers = config.layers.iter().enumerate();
        let layers = layers.map(|(index, &kind)| Layer::load(config, kind, &weights.layer(index)));
        let dtype = weights::dtype(weights.dtype);
        let embedding_scale = Array::from_f32(config.embedding_scale(weights.dtype) as f32);
        Ok(Self {
            config: config.clone(),
            stream,
            asynchronous,
            dtype,
            embedding,
            embedding_scale: embedding_scale.as_dtype(dtype)?,
            layers: layers.collect::<MlxResult<_>>()?,
            norm: RmsNorm::new(weights.norm("model.norm.weight")?, config.rms_norm_eps),
            lm_head: Linear::new(lm_head, None),
            final_softcap: config.final_logit_softcapping.map(SoftCap::new),
            context: None,
        })
    }

    fn make_context(&self, shape: ContextShape) -> MlxResult<Context> {
        let mut kinds = Vec::new();
        for kind in [LayerKind::Global, LayerKind::Local] {
            if self.config.layers.contains(&kind) {
                let window = self.config.window(kind);
                let cursor = CacheCursor::new(shape.capacity, shape.chunk, window);
                let rope = Rope::new(&self.config, kind);
                let fused_attention = self.config.attn_logit_softcapping.is_none();
                kinds.push((
                    kind,
                    KindContext {
                        window,
                        cursor,
                        rope,
                        fused_attention,
                    },
                ));
            }
        }
        let caches = self.layers.iter().map(|layer| {
            let capacity = of_kind(&kinds, layer.kind).cursor.capacity();
            KvCache::new(&self.config, shape.batch, capacity, self.dtype)
        });
        let caches: Vec<KvCache> = caches.collect::<MlxResult<_>>()?;
        eval(caches.iter().flat_map(KvCache::arrays))?;
        Ok(Context {
            batch: shape.batch,
            kinds,
            caches,
        })
    }

    /// Runs the layers on `ids`, of shape `[batch, tokens]`, and appends to the KV cache. The
    /// result has shape `[batch, tokens, hidden_size]`.
    fn hidden(&mut self, ids: &Array) -> Result<Array> {
        let (batch, tokens) = (ids.dim(0) as usize, ids.dim(1) as usize);
        let context = self.context.as_mut().ok_or_else(|| no_room("nothing"))?;
        if batch != context.batch {
            return Err(no_room(&format!("{} rows, not {batch},", context.batch)));
        }
        let spans = context.advance(tokens, self.dtype)?;
        let mut run = || -> MlxResult<Array> {
            let mut x = self
                .embedding
                .take_axis(ids, 0)?
                .multiply(&self.embedding_scale)?;
            for (layer, cache) in self.layers.iter().zip(&mut context.caches) {
                x = layer.forward(x, of_kind(&spans, layer.kind), cache)?;
            }
            Ok(x)
        };
        run().map_err(framework)
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
            true => Reads::Own,
            false => Reads::Immediate,
        }
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        // The old cache goes first: two may not fit.
        self.context = None;
        memory::reset_peak_memory().map_err(framework)?;
        let context = with_stream(&self.stream, || self.make_context(context));
        self.context = Some(context.map_err(framework)?);
        Ok(())
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        with_stream(&self.stream.clone(), || {
            self.hidden(&upload(tokens))?;
            // The cache needs all that a later chunk will read, and nothing after it.
            let caches = self.context.iter().flat_map(|context| &context.caches);
            eval(caches.flat_map(KvCache::arrays)).map_err(framework)?;
            memory::clear_cache().map_err(framework)
        })
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        with_stream(&self.stream.clone(), || {
            let hidden = self.hidden(&upload(tokens))?;
            self.project(&hidden).map_err(framework)
        })
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        with_stream(&self.stream.clone(), || {
            let ids = previous.tokens.expand_dims(1).map_err(framework)?;
            let hidden = self.hidden(&ids)?;
            self.project(&hidden).map_err(framework)
        })
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let tokens = Array::from_slice(ids, &[ids.len() as i32]);
        Ok(Output { tokens, ..output })
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
        memory::peak_memory().ok().map(|bytes| bytes as u64)
    }
}

impl Layer {
    fn load(config: &GemmaConfig, kind: LayerKind, weights: &LayerWeights<'_>) -> MlxResult<Self> {
        let norm = |name: &str| -> MlxResult<RmsNorm> {
            let factor = weights.norm(&format!("{name}_layernorm.weight"))?;
            Ok(RmsNorm::new(factor, config.rms_norm_eps))
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
    fn forward(&self, x: Array, span: &Span, cache: &mut KvCache) -> MlxResult<Array> {
        let y = self
            .attention
            .forward(&self.attention_norm.forward(&x)?, span, cache)?;
        let x = x.add(after(self.attention_post_norm.as_ref(), y)?)?;
        let y = self.mlp.forward(&self.mlp_norm.forward(&x)?)?;
        x.add(after(self.mlp_post_norm.as_ref(), y)?)
    }
}

impl Context {
    /// Moves on by `tokens` and says what that means for layers of each kind.
    fn advance(&mut self, tokens: usize, dtype: Dtype) -> Result<Vec<(LayerKind, Span)>> {
        let kinds = self.kinds.iter_mut();
        kinds
            .map(|(kind, shared)| Ok((*kind, shared.advance(tokens, dtype)?)))
            .collect()
    }
}

impl KindContext {
    /// Moves on by `tokens` and says what that means for layers of this kind.
    fn advance(&mut self, tokens: usize, dtype: Dtype) -> Result<Span> {
        let start = self.cursor.position();
        let append = self
            .cursor
            .append(tokens)
            .ok_or_else(|| no_room("fewer tokens"))?;
        let (first, read) = (append.read_position, append.read.len());
        let whole_window = self.window.is_none_or(|window| read <= window);
        let mask = match (tokens, self.fused_attention && whole_window) {
            (1, _) => Mask::None,
            (_, true) => Mask::Causal,
            (_, false) => {
                let mask = mask::additive(start, tokens, first, read, self.window);
                let mask = Array::from_slice(&mask, &[tokens as i32, read as i32]);
                Mask::Additive(mask.as_dtype(dtype).map_err(framework)?)
            }
        };
        Ok(Span {
            append,
            mask,
            rope: self.rope.at(start),
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
fn after(norm: Option<&RmsNorm>, y: Array) -> MlxResult<Array> {
    match norm {
        Some(norm) => norm.forward(&y),
        None => Ok(y),
    }
}

fn upload(tokens: &TokenBatch) -> Array {
    Array::from_slice(tokens.ids(), &[tokens.batch() as i32, tokens.len() as i32])
}

fn no_room(made_for: &str) -> Error {
    Error::Invalid(format!(
        "the KV cache was made for {made_for}: reset the model first"
    ))
}
