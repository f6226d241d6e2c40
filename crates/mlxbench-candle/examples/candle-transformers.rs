//! candle-transformers' own Gemma 1 and Gemma 3 as a worker, to stand beside ours: see
//! `bench-configs/peers.toml` and `cuda-peers.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{gemma, gemma3};
use mlxbench_candle::{CandleBackend, Product};
use mlxbench_core::backend::{ContextShape, DeviceSupport, Identity, Reads};
use mlxbench_core::checkpoint;
use mlxbench_core::gemma::{FlatConfig, Generation, LayerKind};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{
    Backend, Checkpoint, Dtype, Error, GemmaConfig, Model, Placement, Result, TokenBatch, TokenId,
    WeightFormat,
};

/// The longest text. Tables and, in Gemma 3, caches are made for it in full.
const POSITIONS: usize = 16_384;

/// Why it takes no quantised weights.
const UNQUANTISED: &str = "quantised weights aren't implemented in this peer";

fn main() -> ExitCode {
    mlxbench_core::worker::serve(Peer::default())
}

/// candle, with the model of its companion crate in place of ours.
#[derive(Default)]
struct Peer {
    candle: CandleBackend,
}

impl Backend for Peer {
    type Model = PeerModel;
    type Product = Product;

    fn identity(&self) -> Result<Identity> {
        let candle = self.candle.identity()?;
        Ok(Identity {
            backend: "candle-transformers".into(),
            framework: "candle-transformers".into(),
            // The two crates are released together.
            version: candle.version.clone(),
            libraries: BTreeMap::from([("candle".into(), candle.version)]),
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        let mut devices = self.candle.devices();
        let precisions = devices.iter_mut().flat_map(|device| &mut device.precisions);
        for support in precisions.filter(|support| support.precision.is_quantised()) {
            support.unsupported = Some(UNQUANTISED.into());
        }
        devices
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        self.candle.set_threads(threads)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<PeerModel> {
        let dtype = match placement.precision.weights() {
            WeightFormat::Plain(Dtype::F32) => DType::F32,
            WeightFormat::Plain(Dtype::Bf16) => DType::BF16,
            WeightFormat::Plain(Dtype::F16) => DType::F16,
            WeightFormat::Quantised(_) | WeightFormat::Native => {
                return Err(Error::Unsupported(UNQUANTISED.into()));
            }
        };
        let device = mlxbench_candle::device(&placement.device)?;
        let config = checkpoint.config().clone();
        let model = Gemma::load(&config, &weight_files(checkpoint.folder())?, dtype, &device)?;
        Ok(PeerModel {
            window: config.flat()?.sliding_window,
            config,
            device,
            model,
            position: 0,
        })
    }

    /// The adapter's: the limit of candle on this device.
    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Product> {
        self.candle.product(shape, copies, placement)
    }
}

/// The files that hold the weights in `folder`, which was checked.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = fs::read_to_string(folder.join(checkpoint::INDEX_FILE)).ok();
    let sets = checkpoint::weight_sets(index.as_deref(), |file| folder.join(file).is_file());
    let sets = sets.map_err(|_| Error::Invalid("no whole set of weights".into()))?;
    let files = sets.first.files.iter();
    Ok(files.map(|file| folder.join(file)).collect())
}

/// The models of candle-transformers.
enum Gemma {
    One(gemma::Model),
    Three(gemma3::Model),
}

impl Gemma {
    fn load(
        config: &GemmaConfig,
        files: &[PathBuf],
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let flat = config.flat()?;
        // SAFETY: nobody truncates the files while this runs.
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(files, dtype, device) };
        let weights = weights.map_err(Error::framework)?;
        let model = match config.generation {
            Generation::Gemma1 => {
                gemma::Model::new(false, &gemma_config(&flat), weights).map(Self::One)
            }
            Generation::Gemma3 => {
                gemma3::Model::new(false, &gemma3_config(&flat), weights).map(Self::Three)
            }
            _ => return Err(Error::Unsupported("this peer runs Gemma 1 and 3".into())),
        };
        model.map_err(Error::framework)
    }

    /// The last position's logits for `ids`, of shape `[batch, tokens]`, which begin at `position`.
    fn forward(&mut self, ids: &Tensor, position: usize) -> candle_core::Result<Tensor> {
        let logits = match self {
            Self::One(model) => model.forward(ids, position),
            Self::Three(model) => model.forward(ids, position),
        };
        logits?.squeeze(1)
    }

    fn clear_kv_cache(&mut self) {
        match self {
            Self::One(model) => model.clear_kv_cache(),
            Self::Three(model) => model.clear_kv_cache(),
        }
    }
}

struct PeerModel {
    config: GemmaConfig,
    device: Device,
    model: Gemma,
    /// Of the layers that have one.
    window: Option<usize>,
    position: usize,
}

impl PeerModel {
    /// Appends `ids`, of shape `[batch, tokens]`.
    fn append(&mut self, ids: &Tensor) -> candle_core::Result<PeerOutput> {
        let logits = self.model.forward(ids, self.position)?;
        self.position += ids.dim(1)?;
        Ok(PeerOutput {
            tokens: logits.argmax(D::Minus1)?,
            logits,
        })
    }

    /// Whether the model takes `tokens` more tokens at once.
    fn check(&self, tokens: usize) -> Result<()> {
        let end = self.position + tokens;
        // Its masks are as long as the text, its caches only as long as the window.
        if self.position > 0 && tokens > 1 && self.window.is_some_and(|window| end > window) {
            return Err(Error::Unsupported(
                "candle-transformers' Gemma 3 takes a text past its window in one piece: raise \
                 `chunk`, leave out `depth`"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// The last position's logits, of shape `[batch, vocab]`, and the tokens from which it goes on.
struct PeerOutput {
    tokens: Tensor,
    logits: Tensor,
}

impl Model for PeerModel {
    type Output = PeerOutput;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// By candle's own copies, as its users read tokens: on GPUs in order.
    fn reads(&self) -> Reads {
        match self.device.is_cpu() {
            true => Reads::Immediate,
            false => Reads::InOrder,
        }
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        if context.capacity > POSITIONS {
            return Err(Error::Unsupported(format!(
                "this peer has tables for {POSITIONS} positions, not for {}",
                context.capacity
            )));
        }
        self.model.clear_kv_cache();
        self.position = 0;
        Ok(())
    }

    /// The model has no pass without the output projection.
    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        self.forward(tokens).map(drop)
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<PeerOutput> {
        self.check(tokens.len())?;
        let shape = (tokens.batch(), tokens.len());
        let ids = Tensor::from_slice(tokens.ids(), shape, &self.device);
        ids.and_then(|ids| self.append(&ids))
            .map_err(Error::framework)
    }

    fn step(&mut self, previous: &PeerOutput) -> Result<PeerOutput> {
        let ids = previous.tokens.unsqueeze(1);
        ids.and_then(|ids| self.append(&ids))
            .map_err(Error::framework)
    }

    fn force(&mut self, output: PeerOutput, ids: &[TokenId]) -> Result<PeerOutput> {
        let tokens = Tensor::from_slice(ids, ids.len(), &self.device).map_err(Error::framework)?;
        Ok(PeerOutput { tokens, ..output })
    }

    fn read(&mut self, output: &PeerOutput) -> Result<Vec<TokenId>> {
        output.tokens.to_vec1().map_err(Error::framework)
    }

    fn logits(&mut self, output: &PeerOutput) -> Result<Vec<f32>> {
        let logits = output.logits.to_dtype(DType::F32);
        let logits = logits.and_then(|logits| logits.flatten_all());
        logits
            .and_then(|logits| logits.to_vec1())
            .map_err(Error::framework)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.device.synchronize().map_err(Error::framework)
    }
}

fn gemma_config(config: &FlatConfig) -> gemma::Config {
    gemma::Config {
        attention_bias: config.attention_bias,
        head_dim: config.head_dim,
        hidden_act: None,
        hidden_activation: Some(Activation::GeluPytorchTanh),
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.num_attention_heads,
        num_hidden_layers: config.layers.len(),
        num_key_value_heads: config.num_key_value_heads,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta,
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings.min(POSITIONS),
    }
}

fn gemma3_config(config: &FlatConfig) -> gemma3::Config {
    let kinds = &config.layers;
    let pattern = kinds.iter().position(|&kind| kind == LayerKind::Global);
    gemma3::Config {
        attention_bias: config.attention_bias,
        head_dim: config.head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.num_attention_heads,
        num_hidden_layers: config.layers.len(),
        num_key_value_heads: config.num_key_value_heads,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta,
        rope_local_base_freq: config.rope_local_theta,
        vocab_size: config.vocab_size,
        final_logit_softcapping: config.final_logit_softcapping,
        attn_logit_softcapping: config.attn_logit_softcapping,
        query_pre_attn_scalar: config.query_pre_attn_scalar as usize,
        sliding_window: config
            .sliding_window
            .unwrap_or(config.max_position_embeddings),
        sliding_window_pattern: pattern.map_or(config.layers.len() + 1, |first| first + 1),
        max_position_embeddings: config.max_position_embeddings.min(POSITIONS),
    }
}
