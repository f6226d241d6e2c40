//! A loaded model and its context.

use std::fs::File;
use std::num::NonZeroU32;
use std::rc::Rc;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel as Weights;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use mlxbench_core::backend::{ContextShape, Model, Reads};
use mlxbench_core::gemma::Storage;
use mlxbench_core::{
    Checkpoint, Dtype, Error, GemmaConfig, Placement, Result, TokenBatch, TokenId,
};
use self_cell::self_cell;

use crate::devices::{self, Place};
use crate::{log, storage};

/// Layers on a GPU: all, and the output projection.
const ALL_LAYERS: u32 = 9_999;
/// Tokens that go through the graph at once at most, as llama.cpp and llama-bench have it unless told
/// otherwise: `-ub`.
const MICRO_BATCH: usize = 512;

/// A model in llama.cpp.
pub(crate) struct LlamaModel {
    config: GemmaConfig,
    loaded: Loaded,
    storage: Storage,
    place: Place,
    threads: usize,
    batch: LlamaBatch<'static>,
    shape: Option<ContextShape>,
    /// Tokens a row that were appended.
    position: usize,
    /// Passes so far: the logits are those of the last.
    passes: u64,
    /// Outlives what was made with it.
    library: Rc<LlamaBackend>,
}

self_cell!(
    /// Weights, and the context that refers to them.
    struct Loaded {
        owner: Weights,
        #[not_covariant]
        dependent: Context,
    }
);

/// The KV cache and what a pass needs beside it, once it is known for what texts.
type Context<'model> = Option<LlamaContext<'model>>;

/// The tokens that a pass chose, of shape `[batch]`. Its logits stay with llama.cpp until the next pass.
pub(crate) struct Output {
    tokens: Vec<TokenId>,
    pass: u64,
    /// Where each row's logits are in the batch.
    last: Vec<i32>,
}

impl LlamaModel {
    /// Loads the GGUF file that the model of `checkpoint` was imported from.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it comes from none, or for another device or precision than
    /// [`devices::all`] names.
    pub(crate) fn load(
        library: Rc<LlamaBackend>,
        checkpoint: &Checkpoint,
        placement: &Placement,
        threads: usize,
    ) -> Result<Self> {
        let place = devices::place(&placement.device)?;
        devices::check(placement.precision, place)?;
        let file = checkpoint.gguf_file().ok_or_else(|| {
            Error::Unsupported(
                "llama.cpp runs GGUF files, and this model comes from none: name gguf:FILE".into(),
            )
        })?;
        File::open(file).map_err(|error| {
            let message =
                format!("the model was imported from it, and its blocks are asked for: {error}");
            Error::model(file, message)
        })?;
        let storage = storage::of(file, placement.precision.compute(), place)?;
        let params = LlamaModelParams::default();
        let params = match place {
            // An empty list: no GPU at all, for the products of long prompts neither.
            Place::Cpu => params.with_n_gpu_layers(0).with_devices(&[]),
            Place::Gpu { index, .. } => params.with_n_gpu_layers(ALL_LAYERS).with_devices(&[index]),
        };
        let params = params.map_err(log::failure)?;
        log::forget();
        let weights = Weights::load_from_file(&library, file, &params).map_err(log::failure)?;
        let config = checkpoint.config().clone();
        let vocabulary = weights.n_vocab();
        if usize::try_from(vocabulary) != Ok(config.vocab_size) {
            return Err(Error::model(
                file,
                format!(
                    "llama.cpp reads a vocabulary of {vocabulary} tokens, the import one of {}",
                    config.vocab_size
                ),
            ));
        }
        Ok(Self {
            config,
            loaded: Loaded::new(weights, |_| None),
            storage,
            place,
            threads,
            batch: LlamaBatch::new(1, 1),
            shape: None,
            position: 0,
            passes: 0,
            library,
        })
    }

    /// The parameters of a context for `shape`.
    fn context_params(&self, shape: ContextShape) -> Result<LlamaContextParams> {
        let count = |count: usize| {
            u32::try_from(count)
                .map_err(|_| Error::Invalid(format!("{count} tokens are too many for llama.cpp")))
        };
        let kind = match self.storage.kv_cache {
            Dtype::F32 => KvCacheType::F32,
            Dtype::F16 => KvCacheType::F16,
            Dtype::Bf16 => KvCacheType::BF16,
        };
        let threads = i32::try_from(self.threads)
            .map_err(|_| Error::Invalid(format!("{} threads are too many", self.threads)))?;
        let at_once = shape.batch * shape.chunk.max(1);
        Ok(LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(count(shape.batch * shape.capacity)?))
            .with_n_seq_max(count(shape.batch)?)
            .with_n_batch(count(at_once)?)
            .with_n_ubatch(count(at_once.min(MICRO_BATCH))?)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_type_k(kind)
            .with_type_v(kind)
            // As llama-bench has them: a window's layers keep the window only.
            .with_swa_full(false)
            .with_offload_kqv(self.place != Place::Cpu)
            .with_op_offload(self.place != Place::Cpu)
            .with_no_perf(true))
    }

    /// Appends `rows` of equal length; `logits` of the last of each are computed. Returns where they are.
    fn append(&mut self, ids: &[TokenId], rows: usize, logits: bool) -> Result<Vec<i32>> {
        let shape = self
            .shape
            .ok_or_else(|| Error::Invalid("a model has no room before a reset".into()))?;
        let tokens = ids.len() / rows;
        let end = self.position + tokens;
        if rows != shape.batch || tokens > shape.chunk.max(1) || end > shape.capacity {
            return Err(Error::Invalid(format!(
                "{rows} rows of {tokens} tokens at {} don't fit what was made room for: {shape:?}",
                self.position
            )));
        }
        self.batch.clear();
        let mut last = Vec::with_capacity(rows);
        for (row, ids) in (0_i32..).zip(ids.chunks_exact(tokens)) {
            for (position, &id) in (self.position..).zip(ids) {
                let id = i32::try_from(id)
                    .map(LlamaToken::new)
                    .map_err(Error::framework)?;
                let at = i32::try_from(position).map_err(Error::framework)?;
                let wanted = logits && position + 1 == end;
                self.batch
                    .add(id, at, &[row], wanted)
                    .map_err(Error::framework)?;
            }
            last.push(self.batch.n_tokens() - 1);
        }
        self.passes += 1;
        log::forget();
        let batch = &mut self.batch;
        self.loaded.with_dependent_mut(|_, context| {
            let context = context.as_mut().expect("made with the shape");
            context.decode(batch).map_err(log::failure)
        })?;
        self.position = end;
        Ok(last)
    }

    /// Appends `ids`, `rows` of equal length, and chooses the next token of each. llama.cpp leaves that to its
    /// caller, so it is done here, on the host.
    fn choose(&mut self, ids: &[TokenId], rows: usize) -> Result<Output> {
        let last = self.append(ids, rows, true)?;
        let tokens = self.loaded.with_dependent(|_, context| {
            let context = context.as_ref().expect("made with the shape");
            last.iter()
                .map(|&at| argmax(context.get_logits_ith(at)))
                .collect()
        });
        Ok(Output {
            tokens,
            pass: self.passes,
            last,
        })
    }
}

/// The index of the largest of `logits`, the first of equals.
fn argmax(logits: &[f32]) -> TokenId {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best.0
}

impl Model for LlamaModel {
    type Output = Output;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// Tokens are chosen on the host, so that a step ends with its logits there.
    fn reads(&self) -> Reads {
        Reads::Immediate
    }

    fn storage(&self) -> Option<Storage> {
        Some(self.storage.clone())
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        self.position = 0;
        self.passes += 1;
        if self.shape == Some(context) {
            self.loaded.with_dependent_mut(|_, context| {
                context
                    .as_mut()
                    .expect("made with the shape")
                    .clear_kv_cache();
            });
            return Ok(());
        }
        self.shape = None;
        let params = self.context_params(context)?;
        log::forget();
        let library = &self.library;
        self.loaded.with_dependent_mut(|weights, dependent| {
            // The old one goes before there is room for a new one.
            *dependent = None;
            *dependent = Some(weights.new_context(library, params).map_err(log::failure)?);
            Ok::<_, Error>(())
        })?;
        self.batch = LlamaBatch::new(context.batch * context.chunk.max(1), 1);
        self.shape = Some(context);
        Ok(())
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        self.append(tokens.ids(), tokens.batch(), false).map(drop)
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Output> {
        self.choose(tokens.ids(), tokens.batch())
    }

    fn step(&mut self, previous: &Output) -> Result<Output> {
        self.choose(&previous.tokens, previous.tokens.len())
    }

    fn force(&mut self, output: Output, ids: &[TokenId]) -> Result<Output> {
        Ok(Output {
            tokens: ids.to_vec(),
            ..output
        })
    }

    fn read(&mut self, output: &Output) -> Result<Vec<TokenId>> {
        Ok(output.tokens.clone())
    }

    fn logits(&mut self, output: &Output) -> Result<Vec<f32>> {
        if output.pass != self.passes {
            return Err(Error::Invalid(
                "llama.cpp keeps the logits of the last pass only".into(),
            ));
        }
        Ok(self.loaded.with_dependent(|_, context| {
            let context = context.as_ref().expect("made with the shape");
            let rows = output.last.iter().map(|&at| context.get_logits_ith(at));
            rows.flatten().copied().collect()
        }))
    }

    fn synchronize(&mut self) -> Result<()> {
        self.loaded.with_dependent(|_, context| {
            if let Some(context) = context {
                context.synchronize();
            }
        });
        Ok(())
    }
}
