//! `mlxbench generate`: one greedy generation, to look at.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use mlxbench_core::checkpoint::Checkpoint;
use mlxbench_core::generate::{DEFAULT_CHUNK, Mode};
use mlxbench_core::logits_file::LogitsFile;
use mlxbench_core::protocol::{Generate, Generated, Hello, Load};
use mlxbench_core::text::tell;
use mlxbench_core::{Device, Dtype, GemmaConfig, Placement, Precision, TokenBatch, TokenId};
use mlxbench_models::source::Source;
use mlxbench_runner::devices::not_here;
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::locate::worker_command;
use mlxbench_runner::process::{Worker, WorkerError};
use mlxbench_runner::prompt::{encode, read_tokenizer};
use mlxbench_runner::system::MachineLock;
use serde::Serialize;

use crate::exit::Exit;
use crate::making::Making;
use crate::outfile::{Aside, Kind, Outputs};
use crate::output::{print, size};

/// Generate greedily with one backend.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench generate --model hf:google/gemma-3-270m --backend candle --prompt \"The capital of France is\"
  mlxbench generate --model synthetic:gemma-3-270m --backend candle --tokens 2,818,5279 --json")]
pub(crate) struct Args {
    #[arg(long, value_name = "M", help = super::MODEL_HELP)]
    model: OsString,
    /// candle, tch, mlx, or any worker called mlxbench-worker-B.
    #[arg(long, value_name = "B")]
    backend: String,
    /// The device; the best that the backend finds when left out. cuda+ple-cpu and the like keep Gemma 4's table of
    /// per-layer embeddings on the CPU.
    #[arg(long, value_name = "D")]
    device: Option<Device>,
    /// f32, bf16 or f16, or weights and compute, such as q4-bf16 or native-bf16; the dtype that the model is
    /// stored in when left out.
    #[arg(long, value_name = "T")]
    dtype: Option<Precision>,
    #[command(flatten)]
    prompt: PromptArgs,
    /// The most tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_one)]
    max_tokens: usize,
    /// Continue past end tokens.
    #[arg(long)]
    ignore_eos: bool,
    /// Write the logits of each generated token to FILE (safetensors, f32 `logits` [N, vocab]).
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// CPU threads; the framework's default when left out.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// The most prompt tokens handed to the model at once.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHUNK, value_parser = at_least_one)]
    chunk: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// The prompt's text.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The prompt's token ids.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    tokens: Option<Vec<TokenId>>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    backend: String,
    device: Device,
    dtype: Precision,
    prompt_tokens: usize,
    tokens: Vec<TokenId>,
    text: Option<String>,
    ttft_ns: u64,
    decode_tokens_per_second: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Some(model) = args.model.to_str() else {
        bail!(
            "--model {}: workers are told the folder in UTF-8, and this name isn't: rename it, or \
             make a link to it and name that",
            args.model.display()
        );
    };
    let source = model.parse::<Source>()?;
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    // Rates are measured here, too, and a run that goes on would measure this.
    let lock = MachineLock::acquire("generate")?;
    if let Some(warning) = lock.warning() {
        tell(format_args!("warning: {warning}"));
    }
    let folder = source.resolve(&Making::new(args.json).watch())?;
    let checkpoint = Checkpoint::open(&folder)?;
    for warning in checkpoint.warnings() {
        tell(format_args!("warning: {warning}"));
    }
    let config = checkpoint.config();
    let prompt = prompt_ids(&args.prompt, &folder, config)?;
    check_length(&prompt, args.max_tokens, config)?;

    let logits = logits_file(&args, &folder)?;
    let command = worker_command(&args.backend, None).map_err(|message| anyhow!(message))?;
    let timeout = Duration::from_secs(24 * 3600);
    let mut worker = Worker::start(&command, timeout, interrupt)?;
    let stored = checkpoint.dtypes().into_iter().next().unwrap_or(Dtype::F32);
    let placement = match place(&args, &worker.hello()?, stored) {
        Ok(placement) => placement,
        Err(message) => bail!("{}: {message}", args.backend),
    };
    let request = Generate {
        context: None,
        prompt: TokenBatch::row(prompt.clone()),
        new_tokens: args.max_tokens,
        chunk: args.chunk,
        mode: Mode::Pipelined,
        stop: match args.ignore_eos {
            true => Vec::new(),
            false => config.eos_token_ids.clone(),
        },
        logits: logits.as_ref().map(|file| file.path().to_owned()),
    };
    let done = generate(
        &mut worker,
        &args,
        &folder,
        &placement,
        request,
        config.vocab_size,
    );
    let generated = match done {
        Ok(generated) => generated,
        Err(WorkerError { kind: None, .. }) => return Ok(Exit::Interrupted),
        Err(WorkerError {
            kind: Some(kind),
            message,
            ..
        }) => {
            tell(format_args!(
                "error: {}/{placement} {}: {message}",
                args.backend,
                kind.name()
            ));
            return Ok(Exit::Degraded);
        }
    };
    if let (Some(file), Some(name)) = (logits, &args.logits) {
        let steps = generated.token_ns.len();
        match LogitsFile::open(file.path()) {
            Ok(written) if written.positions() == steps => {}
            Ok(written) => bail!(
                "{}: the worker wrote the logits of {} tokens, not of {steps}",
                args.backend,
                written.positions()
            ),
            Err(error) => bail!("{}: the worker wrote no logits: {error}", args.backend),
        }
        file.finish().with_context(|| name.display().to_string())?;
    }
    let answer = answer(
        args.backend,
        placement,
        &prompt,
        &generated,
        &worker,
        &folder,
    )?;
    show(&answer, args.json)?;
    if generated.finite {
        return Ok(Exit::Fine);
    }
    tell("error: the logits aren't finite: these tokens mean nothing");
    Ok(Exit::Degraded)
}

/// The file that the worker writes logits to: it gets its name once it is whole.
fn logits_file(args: &Args, model: &Path) -> anyhow::Result<Option<Aside>> {
    let Some(path) = &args.logits else {
        return Ok(None);
    };
    Outputs::beside([model]).claim(path, Kind::Logits)?;
    let file = Aside::new(path).with_context(|| path.display().to_string())?;
    Ok(Some(file))
}

fn prompt_ids(
    args: &PromptArgs,
    folder: &Path,
    config: &GemmaConfig,
) -> anyhow::Result<Vec<TokenId>> {
    let ids = match (&args.prompt, &args.tokens) {
        (Some(text), _) => encode(&read_tokenizer(folder)?, text, folder, config)?,
        (None, tokens) => tokens.clone().unwrap_or_default(),
    };
    if ids.is_empty() {
        bail!("the prompt is empty");
    }
    TokenBatch::row(ids.clone()).check_vocab(config.vocab_size)?;
    Ok(ids)
}

fn check_length(prompt: &[TokenId], max_tokens: usize, config: &GemmaConfig) -> anyhow::Result<()> {
    let (limit, length) = (config.max_position_embeddings, prompt.len());
    if length.saturating_add(max_tokens) - 1 > limit {
        bail!(
            "{length} prompt tokens and --max-tokens {max_tokens} exceed the model's context of \
             {limit}"
        );
    }
    Ok(())
}

/// Device and precision: those asked for, else the backend's first device and the stored dtype.
fn place(args: &Args, hello: &Hello, stored: Dtype) -> Result<Placement, String> {
    let best = hello.devices.first().ok_or("it finds no device here")?;
    let device = args.device.clone().unwrap_or_else(|| best.device.clone());
    let Some(support) = hello
        .devices
        .iter()
        .find(|support| support.device == device.listed())
    else {
        return Err(not_here(&args.backend, &device, &hello.devices));
    };
    let precision = args.dtype.unwrap_or(stored.into());
    let mut known = support.precisions.iter();
    match known.find(|known| known.precision == precision) {
        Some(known) => match &known.unsupported {
            None => Ok(Placement { device, precision }),
            Some(reason) => Err(format!("no {precision} on {device}: {reason}")),
        },
        None => Err(format!("no {precision} on {device}")),
    }
}

fn generate(
    worker: &mut Worker,
    args: &Args,
    folder: &Path,
    placement: &Placement,
    request: Generate,
    vocab_size: usize,
) -> Result<Generated, WorkerError> {
    worker.load(Load {
        model: folder.to_owned(),
        placement: placement.clone(),
        threads: args.threads,
        dequantised: None,
    })?;
    worker.generate(request, vocab_size)
}

fn answer(
    backend: String,
    placement: Placement,
    prompt: &[TokenId],
    generated: &Generated,
    worker: &Worker,
    folder: &Path,
) -> anyhow::Result<Answer> {
    let tokens = generated.tokens.first().cloned().unwrap_or_default();
    let text = match folder.join("tokenizer.json").is_file() {
        true => Some(
            read_tokenizer(folder)?
                .decode(&tokens, true)
                .map_err(|error| anyhow!("{error}"))
                .context("the generated ids can't be decoded")?,
        ),
        false => None,
    };
    let (first, last) = (generated.token_ns.first(), generated.token_ns.last());
    let decode_ns = last
        .zip(first)
        .map(|(last, first)| last.since(*first))
        .unwrap_or_default();
    let steps = generated.token_ns.len().saturating_sub(1);
    Ok(Answer {
        backend,
        device: placement.device,
        dtype: placement.precision,
        prompt_tokens: prompt.len(),
        tokens,
        text,
        ttft_ns: first.copied().unwrap_or_default().0,
        decode_tokens_per_second: (steps > 0 && decode_ns.0 > 0)
            .then(|| steps as f64 / decode_ns.as_secs_f64()),
        peak_memory_bytes: worker.peak_memory_bytes(),
    })
}

fn show(answer: &Answer, json: bool) -> anyhow::Result<()> {
    if json {
        return print(format!("{}\n", serde_json::to_string(answer)?).as_bytes());
    }
    let ids = || {
        answer
            .tokens
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let text = answer.text.clone().unwrap_or_else(ids);
    print(format!("{text}\n").as_bytes())?;
    let peak = answer.peak_memory_bytes.map_or_else(
        || "peak memory unknown".to_owned(),
        |bytes| format!("peak memory {}", size(bytes)),
    );
    let decode = answer
        .decode_tokens_per_second
        .map_or_else(String::new, |rate| format!(", decode {rate:.1} tokens/s"));
    tell(format_args!(
        "{}/{}/{}: {} prompt tokens, first token after {:.1} ms{decode}, {peak}",
        answer.backend,
        answer.device,
        answer.dtype,
        answer.prompt_tokens,
        answer.ttft_ns as f64 * 1e-6,
    ));
    Ok(())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("write 1 or more".into()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}
