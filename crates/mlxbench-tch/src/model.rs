//! The whole model: embeddings, layers, output projection.

mod ops;

use mlxbench_core::backend::{ContextShape, Reads};
use mlxbench_core::gemma::cache::CacheCursor;
use mlxbench_core::gemma::{LayerKind, mask};
use mlxbench_core::{Error, GemmaConfig, Model, Result, TokenBatch, TokenId};
use tch::{Device, Kind, TchError, Tensor, no_grad};

pub use ops::PreparedOp;

use crate::attention::{Attention, Span};
use crate::backend::{accelerator, framework, synchronize};
use crate::cache::KvCache;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::readback::Readback;
use crate::rope::Rope;
use crate::shim;
use crate::weights::{self, LayerWeights, Weights};

/// A Gemma text model on a libtorch device.
#[derive(Debug)]
pub struct GemmaModel {
    config: GemmaConfig,
    device: Device,
    dtype: Kind,
    /// What attention adds its mask in.
    mask_dtype: Kind,
    /// Shape `[vocab_size, hidden_size]`.
    embedding: Tensor,
    embedding_scale: f64,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
    context: Option<Context>,
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
    /// Query heads a key and value head.
    group: usize,
    mask_dtype: Kind,
    window: Option<usize>,
    cursor: CacheCursor,
    rope: Rope,
}

impl GemmaModel {
    pub(crate) fn load(weights: &Weights<'_>) -> TchResult<Self> {
        let config = weights.checkpoint.config();
        // Largest first: while a tensor is converted, its file's pages are in memory too.
        let embedding = weights.matrix(&["model.embed_tokens.weight"], config.hidden_size)?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.shallow_clone(),
            false => weights.matrix(&["lm_head.weight"], config.hidden_size)?,
        };
        let layers = config.layers.iter().enumerate();
        // Fused attention knows no soft-cap, and on MPS it was reported to be wrong in 16 bits.
        let fused = config.attn_logit_softcapping.is_none() && weights.device != Device::Mps;
        let layers =
            layers.map(|(index, &kind)| Layer::load(config, kind, &weights.layer(index), fused));
        Ok(Self {
            config: config.clone(),
            device: weights.device,
            dtype: weights::dtype(weights.dtype),
            embedding,
            embedding_scale: config.embedding_scale(weights.dtype),
            layers: layers.collect::<TchResult<_>>()?,
            norm: RmsNorm::new(weights.norm("model.norm.weight")?, config.rms_norm_eps),
            lm_head: Linear::new(lm_head, None),
            mask_dtype: match fused {
                true => weights::dtype(weights.dtype),
                false => Kind::Float,
            },
            context: None,
        })
    }

    fn make_context(&self, shape: ContextShape) -> TchResult<Context> {
        let mut kinds = Vec::new();
        for kind in [LayerKind::Global, LayerKind::Local] {
            if self.config.layers.contains(&kind) {
                let window = self.config.window(kind);
                let cursor = CacheCursor::new(shape.capacity, shape.chunk, window);
                let rope = Rope::new(&self.config, kind, shape.capacity, self.dtype, self.device)?;
                kinds.push((
                    kind,
                    KindContext {
                        group: self.config.num_attention_heads / self.config.num_key_value_heads,
                        mask_dtype: self.mask_dtype,
                        window,
                        cursor,
                        rope,
                    },
                ));
            }
        }
        let caches = self.layers.iter().map(|layer| {
            let capacity = of_kind(&kinds, layer.kind).cursor.capacity();
            KvCache::new(&self.config, shape.batch, capacity, self.dtype, self.device)
        });
        let caches = caches.collect::<TchResult<_>>()?;
        Ok(Context {
            batch: shape.batch,
            kinds,
            caches,
        })
    }

    /// Runs the layers on `ids`, of shape `[batch, tokens]`, and appends to the KV cache. The
    /// result has shape `[batch, tokens, hidden_size]`.
    fn hidden(&mut self, ids: &Tensor) -> Result<Tensor> {
        let (batch, tokens) = ids.size2().map_err(framework)?;
        let (batch, tokens) = (batch as usize, tokens as usize);
        let context = self.context.as_mut().ok_or_else(|| no_room("nothing"))?;
        if batch != context.batch {
            return Err(no_room(&format!("{} rows, not {batch},", context.batch)));
        }
        let spans = context.advance(tokens, self.device)?;
        let run = || -> TchResult<Tensor> {
            let embedded = Tensor::f_embedding(&self.embedding, ids, -1, false, false)?;
            let mut x = embedded.f_mul_scalar(self.embedding_scale)?;
            for (layer, cache) in self.layers.iter().zip(&context.caches) {
                x = layer.forward(x, of_kind(&spans, layer.kind), cache)?;
            }
            Ok(x)
        };
        run().map_err(framework)
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
            .f_to_device(self.device)
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
        match self.device {
            Device::Cpu => Reads::Immediate,
            Device::Cuda(_) => Reads::Own,
            Device::Mps | Device::Vulkan => Reads::InOrder,
        }
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        // The old cache goes first: two may not fit.
        self.context = None;
        if let Some(index) = accelerator(self.device) {
            shim::reset_peak(index);
        }
        self.context = Some(self.make_context(context).map_err(framework)?);
        Ok(())
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        no_grad(|| {
            let ids = self.upload(tokens).map_err(framework)?;
            self.hidden(&ids).map(drop)
        })
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        no_grad(|| {
            let ids = self.upload(tokens).map_err(framework)?;
            let hidden = self.hidden(&ids)?;
            self.project(&hidden).map_err(framework)
        })
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        no_grad(|| {
            let ids = previous.tokens.f_unsqueeze(1).map_err(framework)?;
            let hidden = self.hidden(&ids)?;
            self.project(&hidden).map_err(framework)
        })
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
        // Without waiting for the steps that are queued.
        let tokens = Tensor::f_from_slice(&ids)
            .and_then(|ids| ids.f_to_device_(self.device, Kind::Int64, true, false));
        tokens
            .and_then(|tokens| Output::new(tokens, output.logits))
            .map_err(framework)
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
        synchronize(self.device)
    }

    fn device_peak_bytes(&self) -> Option<u64> {
        accelerator(self.device).and_then(shim::peak_bytes)
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

impl Layer {
    fn load(
        config: &GemmaConfig,
        kind: LayerKind,
        weights: &LayerWeights<'_>,
        fused_attention: bool,
    ) -> TchResult<Self> {
        let norm = |name: &str| {
            let factor = weights.norm(&format!("{name}_layernorm.weight"))?;
            Ok::<_, TchError>(RmsNorm::new(factor, config.rms_norm_eps))
        };
        let attention = Attention::load(config, weights, fused_attention)?;
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
    fn forward(&self, x: Tensor, span: &Span, cache: &KvCache) -> TchResult<Tensor> {
        let y = self
            .attention
            .forward(&self.attention_norm.forward(&x)?, span, cache)?;
        let mut x = x.f_add(&after(self.attention_post_norm.as_ref(), y)?)?;
        let y = self.mlp.forward(&self.mlp_norm.forward(&x)?)?;
        x.f_add_(&after(self.mlp_post_norm.as_ref(), y)?)
    }
}

impl Context {
    /// Moves on by `tokens` and says what that means for layers of each kind.
    fn advance(&mut self, tokens: usize, device: Device) -> Result<Vec<(LayerKind, Span)>> {
        let kinds = self.kinds.iter_mut();
        kinds
            .map(|(kind, shared)| Ok((*kind, shared.advance(tokens, device)?)))
            .collect()
    }
}

impl KindContext {
    /// Moves on by `tokens` and says what that means for layers of this kind.
    fn advance(&mut self, tokens: usize, device: Device) -> Result<Span> {
        let start = self.cursor.position();
        let append = self
            .cursor
            .append(tokens)
            .ok_or_else(|| no_room("fewer tokens"))?;
        let (first, read) = (append.read_position, append.read.len());
        let mask = (tokens > 1).then(|| {
            let mask = mask::additive(start, tokens, first, read, self.window);
            Tensor::f_from_slice(&mask)?
                .f_view([tokens as i64, read as i64])?
                .f_to_kind(self.mask_dtype)?
                .f_to_device(device)?
                .f_repeat([self.group as i64, 1])
        });
        let rope = self.rope.at(start..start + tokens);
        Ok(Span {
            append,
            mask: mask.transpose().map_err(framework)?,
            rope: rope.map_err(framework)?,
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
fn after(norm: Option<&RmsNorm>, y: Tensor) -> TchResult<Tensor> {
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
