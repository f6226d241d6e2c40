//! What a token's time may hold, on the device of an adapter: its own step, and nothing that was
//! handed over behind it.
//!
//! Ratios of the best of several repetitions, with room for noise: a step too many in the first
//! token's time doubles it, and reads that return before their step is done leave its work outside
//! of all intervals.

use std::time::{Duration, Instant};

use mlxbench_core::clock::MonotonicClock;
use mlxbench_core::generate::{Generation, Job, Mode, generate};
use mlxbench_core::{
    Backend, Checkpoint, Dtype, Error, GemmaConfig, Model, Placement, Precision, Result, TokenBatch,
};
use mlxbench_models::progress::UNWATCHED;
use mlxbench_models::synth;

/// A Gemma whose step takes about a millisecond on a core.
const CONFIG: &str = r#"{"model_type": "gemma3_text", "vocab_size": 512, "hidden_size": 256,
    "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 16}"#;

const TOKENS: usize = 24;

/// By how much the first token of a pipelined run may come later than that of a synchronous one.
const LATER: f64 = 1.6;

/// The share of a generation's wall time that its first token and its intervals make up at least.
const COVERED: f64 = 0.6;

/// Repetitions of both modes after which a machine isn't expected to be quiet any more.
const MOST: usize = 200;

/// Generates on the first device that `backend` names, in f32, in both modes in turn, until the best
/// repetitions are as they should be.
///
/// # Errors
/// When the framework fails, or they never are: what is wrong then.
pub fn tokens_take_their_own_time<B: Backend>(backend: &mut B) -> Result<()> {
    let device = backend.devices().into_iter().next();
    let device = device.ok_or_else(|| Error::Invalid("a backend without a device".into()))?;
    let placement = Placement {
        device: device.device,
        precision: Precision::plain(Dtype::F32),
    };
    let folder = tempfile::tempdir().map_err(|error| Error::io("a temporary folder", error))?;
    let folder = folder.path().join("model");
    let config = GemmaConfig::from_json(CONFIG)?;
    synth::write(&config, Dtype::F32, 0, &folder, UNWATCHED)
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let mut model = backend.load(&Checkpoint::open(&folder)?, &placement)?;

    let mut first = [f64::INFINITY; 2];
    let mut covered: [f64; 2] = [0.0; 2];
    for _ in 0..MOST {
        for (at, mode) in [Mode::Pipelined, Mode::Synchronous].into_iter().enumerate() {
            let (generation, wall) = run(&mut model, mode)?;
            let form = mode.form(model.reads());
            if generation.form != form {
                return Err(Error::Invalid(format!(
                    "{mode:?} ran {:?}",
                    generation.form
                )));
            }
            let times: Vec<f64> = generation
                .token_ns
                .iter()
                .map(|ns| ns.as_secs_f64())
                .collect();
            first[at] = first[at].min(times[0]);
            covered[at] = covered[at].max(times[TOKENS - 1] / wall.as_secs_f64());
        }
        if first[0] <= LATER * first[1] && covered.iter().all(|&share| share >= COVERED) {
            return Ok(());
        }
    }
    Err(Error::Invalid(format!(
        "on {placement}, pipelined and synchronous: the first token after {first:?} s, {covered:?} of \
         the wall time in tokens"
    )))
}

fn run(model: &mut impl Model, mode: Mode) -> Result<(Generation, Duration)> {
    let prompt = TokenBatch::row(vec![2]);
    let job = Job {
        context: None,
        prompt: &prompt,
        new_tokens: TOKENS,
        chunk: 8,
        mode,
        stop: &[],
    };
    let start = Instant::now();
    let generation = generate(model, &MonotonicClock::default(), &job, |_, _| Ok(()))?;
    // What a read didn't wait for is waited for here.
    model.synchronize()?;
    Ok((generation, start.elapsed()))
}
