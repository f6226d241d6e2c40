//! candle-transformers' own Gemma 3 as a worker, to stand beside ours: see
//! `bench-configs/peers.toml`. Prompts in one piece, on the CPU.

use std::collections::BTreeMap;
use std::process::ExitCode;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::gemma3;
use mlxbench_candle::{CandleBackend, Product};
use mlxbench_core::backend::{ContextShape, DeviceSupport, Identity, Reads};
use mlxbench_core::gemma::{FlatConfig, Generation, LayerKind};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{
    Backend, Checkpoint, Dtype, Error, GemmaConfig, Model, Placement, Result, TokenBatch, TokenId,
    WeightFormat,
};

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
        let devices = self.candle.devices().into_iter();
        devices
            .filter(|known| known.device.kind() == "cpu")
            .collect()
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        self.candle.set_threads(threads)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<PeerModel> {
        if checkpoint.config().generation != Generation::Gemma3 {
            return Err(Error::Unsupported("this peer runs Gemma 3 only".into()));
        }
        let dtype = match placement.precision.weights() {
            WeightFormat::Plain(Dtype::F32) => DType::F32,
            WeightFormat::Plain(Dtype::Bf16) => DType::BF16,
            WeightFormat::Plain(Dtype::F16) => DType::F16,
            WeightFormat::Quantised(_) => {
                return Err(Error::Unsupported(
                    "quantised weights aren't implemented in this peer".into(),
                ));
            }
        };
        let file = mlxbench_core::checkpoint::SINGLE_FILE;
        let files = [checkpoint.folder().join(file)];
        // SAFETY: nobody truncates the file while this runs.
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(&files, dtype, &Device::Cpu) };
        let config = checkpoint.config().clone();
        let peer_config = peer_config(&config.flat()?);
        let model = weights
            .and_then(|weights| gemma3::Model::new(false, &peer_config, weights))
            .map_err(Error::framework)?;
        Ok(PeerModel {
            config,
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

struct PeerModel {
    config: GemmaConfig,
    model: gemma3::Model,
    position: usize,
}

impl PeerModel {
    /// Appends `ids`, of shape `[batch, tokens]`.
    fn append(&mut self, ids: &Tensor) -> candle_core::Result<PeerOutput> {
        let logits = self.model.forward(ids, self.position)?.squeeze(1)?;
        self.position += ids.dim(1)?;
        Ok(PeerOutput {
            tokens: logits.argmax(D::Minus1)?,
            logits,
        })
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

    fn reads(&self) -> Reads {
        Reads::Immediate
    }

    fn reset(&mut self, _context: ContextShape) -> Result<()> {
        self.model.clear_kv_cache();
        self.position = 0;
        Ok(())
    }

    fn prefill(&mut self, _tokens: &TokenBatch) -> Result<()> {
        Err(Error::Unsupported(
            "this peer takes prompts in one piece: raise `chunk`".into(),
        ))
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<PeerOutput> {
        let shape = (tokens.batch(), tokens.len());
        let ids = Tensor::from_slice(tokens.ids(), shape, &Device::Cpu);
        ids.and_then(|ids| self.append(&ids))
            .map_err(Error::framework)
    }

    fn step(&mut self, previous: &PeerOutput) -> Result<PeerOutput> {
        let ids = previous.tokens.unsqueeze(1);
        ids.and_then(|ids| self.append(&ids))
            .map_err(Error::framework)
    }

    fn force(&mut self, output: PeerOutput, ids: &[TokenId]) -> Result<PeerOutput> {
        let tokens = Tensor::from_slice(ids, ids.len(), &Device::Cpu).map_err(Error::framework)?;
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
        Ok(())
    }
}

fn peer_config(config: &FlatConfig) -> gemma3::Config {
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
        max_position_embeddings: config.max_position_embeddings.min(4096),
    }
}
