//! Our Gemma beside candle-transformers' in one process, turn by turn, and what the generation
//! loop costs on top of the model.
//!
//! `MLXBENCH_MODEL=FOLDER cargo bench -p mlxbench-candle --bench peer`, where FOLDER holds a Gemma
//! 3 in the Hugging Face layout.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::gemma3;
use mlxbench_candle::{CandleBackend, GemmaModel};
use mlxbench_core::backend::ContextShape;
use mlxbench_core::clock::MonotonicClock;
use mlxbench_core::gemma::{Generation, LayerKind};
use mlxbench_core::generate::{Job, Mode, generate};
use mlxbench_core::{Backend, Checkpoint, Dtype, GemmaConfig, Model, Placement};
use mlxbench_core::{Result, TokenBatch, TokenId};

const PROMPT: usize = 64;
const NEW: usize = 16;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let Some(folder) = std::env::var_os("MLXBENCH_MODEL") else {
        println!(
            "MLXBENCH_MODEL is unset: name a Gemma 3 folder to compare with candle-transformers"
        );
        return Ok(());
    };
    let checkpoint = Checkpoint::open(Path::new(&folder))?;
    if checkpoint.config().generation != Generation::Gemma3 {
        println!(
            "{} holds no Gemma 3, and the peer runs nothing else",
            checkpoint.folder().display()
        );
        return Ok(());
    }
    let mut backend = CandleBackend::default();
    let threads = backend.set_threads(None)?;
    println!("pp{PROMPT} and tg{NEW}, {threads} threads, medians of {ROUNDS} rounds in turn");
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let placement = Placement {
            device: mlxbench_core::Device::cpu(),
            dtype,
        };
        let mut ours = backend.load(&checkpoint, &placement)?;
        let mut peer = Peer::load(&checkpoint, dtype).map_err(mlxbench_core::Error::framework)?;
        compare(dtype, &mut ours, &mut peer)?;
        loop_overhead(dtype, ours)?;
    }
    Ok(())
}

/// candle-transformers' Gemma 3.
struct Peer(gemma3::Model);

impl Peer {
    fn load(checkpoint: &Checkpoint, dtype: Dtype) -> candle_core::Result<Self> {
        let dtype = match dtype {
            Dtype::F32 => DType::F32,
            Dtype::Bf16 => DType::BF16,
            Dtype::F16 => DType::F16,
        };
        let files = [checkpoint
            .folder()
            .join(mlxbench_core::checkpoint::SINGLE_FILE)];
        // SAFETY: nobody truncates the file while this runs.
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(&files, dtype, &Device::Cpu)? };
        Ok(Self(gemma3::Model::new(
            false,
            &peer_config(checkpoint.config()),
            weights,
        )?))
    }

    /// Prefill and decode times.
    fn run(&mut self, prompt: &TokenBatch) -> candle_core::Result<(Duration, Duration)> {
        self.0.clear_kv_cache();
        let start = Instant::now();
        let ids = Tensor::from_slice(prompt.ids(), (1, PROMPT), &Device::Cpu)?;
        let mut token = self.0.forward(&ids, 0)?.argmax(D::Minus1)?;
        token.flatten_all()?.to_vec1::<u32>()?;
        let prefill = start.elapsed();
        for position in PROMPT..PROMPT + NEW {
            token = self.0.forward(&token, position)?.argmax(D::Minus1)?;
            token.flatten_all()?.to_vec1::<u32>()?;
        }
        Ok((prefill, start.elapsed() - prefill))
    }
}

fn peer_config(config: &GemmaConfig) -> gemma3::Config {
    let pattern = config
        .layers
        .iter()
        .position(|&kind| kind == LayerKind::Global);
    gemma3::Config {
        attention_bias: config.attention_bias,
        head_dim: config.head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.num_attention_heads,
        num_hidden_layers: config.num_layers(),
        num_key_value_heads: config.num_key_value_heads,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta,
        rope_local_base_freq: config.rope_local_theta,
        vocab_size: config.vocab_size,
        final_logit_softcapping: config.final_logit_softcapping,
        attn_logit_softcapping: config.attn_logit_softcapping,
        query_pre_attn_scalar: config.query_pre_attn_scalar as usize,
        sliding_window: config.sliding_window.unwrap_or(PROMPT + NEW),
        sliding_window_pattern: pattern.map_or(config.num_layers() + 1, |first| first + 1),
        max_position_embeddings: PROMPT + NEW,
    }
}

/// Prefill and decode times of ours.
fn run(model: &mut GemmaModel, prompt: &TokenBatch) -> Result<(Duration, Duration)> {
    model.reset(ContextShape {
        batch: 1,
        capacity: PROMPT + NEW,
        chunk: PROMPT,
    })?;
    let start = Instant::now();
    let mut output = model.forward(prompt)?;
    model.read(&output)?;
    let prefill = start.elapsed();
    for _ in 0..NEW {
        output = model.step(&output)?;
        model.read(&output)?;
    }
    Ok((prefill, start.elapsed() - prefill))
}

fn compare(dtype: Dtype, ours: &mut GemmaModel, peer: &mut Peer) -> Result<()> {
    let prompt = prompt();
    let mut times = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        let (our_prefill, our_decode) = run(ours, &prompt)?;
        let (peer_prefill, peer_decode) =
            peer.run(&prompt).map_err(mlxbench_core::Error::framework)?;
        if round > 0 {
            let round = [our_prefill, peer_prefill, our_decode, peer_decode];
            times
                .iter_mut()
                .zip(round)
                .for_each(|(times, time)| times.push(time));
        }
    }
    let [our_prefill, peer_prefill, our_decode, peer_decode] = times.map(median);
    for (name, tokens, ours, peer) in [
        ("prefill", PROMPT, our_prefill, peer_prefill),
        ("decode", NEW, our_decode, peer_decode),
    ] {
        let rate = |time: Duration| tokens as f64 / time.as_secs_f64();
        println!(
            "{dtype:5} {name:8} ours {:7.1} tok/s, candle-transformers {:7.1} tok/s, ratio {:.2}",
            rate(ours),
            rate(peer),
            rate(ours) / rate(peer)
        );
    }
    Ok(())
}

/// The time that [`generate`] takes beyond the model's own calls.
fn loop_overhead(dtype: Dtype, model: GemmaModel) -> Result<()> {
    let prompt = prompt();
    let mut timed = Timed {
        model,
        inside: Duration::ZERO,
    };
    let job = Job {
        context: None,
        prompt: &prompt,
        new_tokens: NEW,
        chunk: PROMPT,
        mode: Mode::Synchronous,
        stop: &[],
    };
    let start = Instant::now();
    let generation = generate(&mut timed, &MonotonicClock::default(), &job, |_, _| Ok(()))?;
    let outside = start.elapsed() - timed.inside;
    let decode = generation.token_ns[NEW - 1].0 - generation.token_ns[0].0;
    let share = 100.0 * outside.as_nanos() as f64 / decode as f64;
    println!("{dtype:5} the generation loop adds {outside:?}, {share:.4} % of decode");
    Ok(())
}

/// A model that adds up the time spent in it.
struct Timed {
    model: GemmaModel,
    inside: Duration,
}

impl Timed {
    fn time<T>(&mut self, work: impl FnOnce(&mut GemmaModel) -> T) -> T {
        let start = Instant::now();
        let result = work(&mut self.model);
        self.inside += start.elapsed();
        result
    }
}

impl Model for Timed {
    type Output = mlxbench_candle::Output;

    fn config(&self) -> &GemmaConfig {
        self.model.config()
    }

    fn reset(&mut self, context: ContextShape) -> Result<()> {
        self.time(|model| model.reset(context))
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        self.time(|model| model.prefill(tokens))
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<Self::Output> {
        self.time(|model| model.forward(tokens))
    }

    fn step(&mut self, previous: &Self::Output) -> Result<Self::Output> {
        self.time(|model| model.step(previous))
    }

    fn read(&mut self, output: &Self::Output) -> Result<Vec<TokenId>> {
        self.time(|model| model.read(output))
    }

    fn logits(&mut self, output: &Self::Output) -> Result<Vec<f32>> {
        self.time(|model| model.logits(output))
    }

    fn synchronize(&mut self) -> Result<()> {
        self.time(Model::synchronize)
    }
}

fn prompt() -> TokenBatch {
    TokenBatch::row((0..PROMPT as TokenId).map(|index| 2 + 37 * index).collect())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
