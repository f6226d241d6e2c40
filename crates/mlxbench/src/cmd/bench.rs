//! `mlxbench bench`: a benchmark by llama-bench's letters. It makes the config that a file would hold.

mod numbers;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use mlxbench_core::generate::Mode;
use mlxbench_core::{Device, Precision};
use mlxbench_report::Format;
use mlxbench_runner::config::{
    Config, EquivalenceConfig, MeasureConfig, ModelConfig, Sweep, TargetConfig, TestConfig,
    TestKind,
};
use mlxbench_runner::execute::Options;
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::system::MachineLock;

use super::backends::BACKENDS;
use super::forecast;
use super::measure::{Resume, expected, measure, plans, table};
use crate::exit::Exit;
use crate::output::print;
use numbers::{Numbers, Pair};

/// What messages and paths are relative to: there is no file.
const HERE: &str = "command line";

/// Run a benchmark without a config file, by llama-bench's letters.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench bench -m synthetic:gemma-3-270m
  mlxbench bench -m hf:google/gemma-3-270m,gguf:FILE -p 512 -n 128 -d 0,4096 --dtype bf16,q4-bf16
  mlxbench bench -m synthetic:gemma-3-1b -p 128-2048*2 -n 0 --backend tch --device cpu,mps -o md
  mlxbench bench -m synthetic:gemma-3-270m -pg 512,128 --print-config > mine.toml

As with llama-bench, values are separated by commas, options may be repeated, and FIRST-LAST,
FIRST-LAST+STEP and FIRST-LAST*FACTOR are ranges; -p and -n make tests of their own, -pg one of
both. Unlike llama-bench's, -b is the number of rows generated together; its -ub is --chunk.")]
pub(crate) struct Args {
    #[arg(short, long = "model", value_name = "M", required = true, value_delimiter = ',', help = super::MODEL_HELP)]
    models: Vec<String>,
    /// Prompt tokens of a prefill test; 0 for none. [default: 512]
    #[arg(short = 'p', long, value_name = "N")]
    n_prompt: Vec<Numbers>,
    /// Tokens to generate in a decode test; 0 for none. [default: 128]
    #[arg(short = 'n', long, value_name = "N")]
    n_gen: Vec<Numbers>,
    /// A test of both, also written -pg: so many prompt tokens, then so many generated.
    #[arg(long = "pg", value_name = "PP,TG")]
    pairs: Vec<Pair>,
    /// Tokens in the cache before the clock starts. [default: 0]
    #[arg(short = 'd', long, value_name = "N")]
    n_depth: Vec<Numbers>,
    /// Rows. [default: 1]
    #[arg(short, long, value_name = "N")]
    batch: Vec<Numbers>,
    /// Backends. Those that aren't there are left out when none is named. [default: candle,tch,mlx]
    #[arg(long = "backend", value_name = "NAME", value_delimiter = ',')]
    backends: Vec<String>,
    /// Devices of each backend; cuda+ple-cpu and the like keep Gemma 4's table of per-layer embeddings on the CPU,
    /// as llama.cpp's --override-tensor per_layer_token_embd=CPU. [default: the best that each finds]
    #[arg(long = "device", value_name = "DEVICE", value_delimiter = ',')]
    devices: Vec<Device>,
    /// Dtypes; of quantised weights weights x compute, as in q4-bf16.
    #[arg(
        long = "dtype",
        value_name = "DTYPE",
        value_delimiter = ',',
        default_value = "bf16"
    )]
    dtypes: Vec<Precision>,
    /// CPU threads. [default: physical cores]
    #[arg(short, long, value_name = "N")]
    threads: Vec<Numbers>,
    /// Measured repetitions a test.
    #[arg(short, long, value_name = "N", default_value_t = MeasureConfig::default().repetitions)]
    repetitions: NonZeroUsize,
    /// Worker processes that the repetitions are spread over.
    #[arg(long, value_name = "N", default_value_t = MeasureConfig::default().processes)]
    processes: NonZeroUsize,
    /// Seconds of rest before each repetition.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    delay: f64,
    /// Leave out the unmeasured repetitions before.
    #[arg(long)]
    no_warmup: bool,
    /// Most prompt tokens at once.
    #[arg(long, value_name = "N")]
    chunk: Option<NonZeroUsize>,
    /// When the host waits for a token: pipelined, synchronous or both.
    #[arg(long, value_name = "MODE", value_delimiter = ',', value_parser = mode, default_value = "pipelined")]
    mode: Vec<Mode>,
    /// BACKEND/DEVICE/DTYPE that all must agree with before they are timed, or none.
    #[arg(long, value_name = "TARGET", default_value_t = EquivalenceConfig::default().reference)]
    reference: String,
    /// Names the folder of the results.
    #[arg(long, value_name = "NAME", default_value = "bench")]
    name: String,
    /// Folder of results.
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// What is printed: text, or any other format of `mlxbench report`.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: String,
    /// Say what would run, how long about, and what memory and disk it would need; measure nothing.
    #[arg(long, conflicts_with = "print_config")]
    dry_run: bool,
    /// Print the config that `mlxbench run` would take, and measure nothing.
    #[arg(long)]
    print_config: bool,
}

/// The command line with `--pg` for llama-bench's `-pg`, which to clap would be `-p g`.
pub(crate) fn with_long_pairs(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    if words.get(1).is_some_and(|verb| verb == "bench") {
        for word in words.iter_mut().filter(|word| *word == "-pg") {
            *word = "--pg".into();
        }
    }
    words
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    let format = format(&args.output)?;
    let config = config(&args)?;
    if args.print_config {
        let place = "# Paths are relative to the folder of this file.\n";
        print(format!("{place}{}", config.to_toml()).as_bytes())?;
        return Ok(Exit::Fine);
    }
    let quiet = format == Format::Json;
    if args.dry_run {
        let configs = config.of_each_model();
        return forecast::show(&configs, Path::new(HERE), &args.out, None, quiet);
    }
    let lock = MachineLock::acquire(&config.name)?;
    let options = Options {
        out: args.out,
        resume: false,
        filter: None,
        harness: super::harness(),
    };
    let (configs, path) = (config.of_each_model(), Path::new(HERE));
    let expected = expected(&configs, path, &options, quiet);
    let plans = plans(&configs, path, None, &expected, quiet)?;
    let measured = measure(&plans, &expected, &lock, &options, &interrupt, quiet)?;
    Ok(measured.show(format, quiet, Resume::Config))
}

fn format(name: &str) -> anyhow::Result<Format> {
    match name {
        "text" | "txt" => Ok(table()),
        name => name
            .parse()
            .map_err(anyhow::Error::msg)
            .context("-o prints one document"),
    }
}

fn mode(name: &str) -> Result<Mode, String> {
    let modes = [Mode::Pipelined, Mode::Synchronous];
    let known = modes.into_iter().find(|mode| mode.name() == name);
    known.ok_or_else(|| "write pipelined or synchronous".into())
}

/// The config that the letters stand for.
///
/// # Errors
/// As of a file that holds it.
fn config(args: &Args) -> anyhow::Result<Config> {
    let measure = MeasureConfig {
        repetitions: args.repetitions,
        processes: args.processes,
        delay_seconds: args.delay,
        chunk: args.chunk,
        ..MeasureConfig::default()
    };
    let warmup = if args.no_warmup { 0 } else { measure.warmup };
    let model = |source: &String| ModelConfig {
        source: source.clone(),
        fallback: None,
        weights: None,
    };
    let config = Config {
        name: args.name.clone(),
        description: None,
        models: several(args.models.iter().map(model))?,
        measure: MeasureConfig { warmup, ..measure },
        roofline: Default::default(),
        equivalence: EquivalenceConfig {
            reference: args.reference.clone(),
            ..EquivalenceConfig::default()
        },
        quantisation: Default::default(),
        prompt: Default::default(),
        tests: tests(args)?,
        targets: targets(args)?,
        backends: Default::default(),
    };
    // As a file would be read: what it refuses is refused here, in its words.
    Ok(Config::checked(config, Path::new(HERE))?)
}

/// llama-bench's tests: each length of a prompt, each of a generation, each pair.
fn tests(args: &Args) -> anyhow::Result<Vec<TestConfig>> {
    let lengths = |numbers: &[Numbers], default: usize| -> Vec<usize> {
        let lengths = Numbers::or(numbers, default).into_iter();
        lengths.filter(|&tokens| tokens > 0).collect()
    };
    // Where only a pair is asked for, only it is measured.
    let only_pairs = !args.pairs.is_empty() && args.n_prompt.is_empty() && args.n_gen.is_empty();
    let default = |tokens: usize| if only_pairs { 0 } else { tokens };
    let depth = several(Numbers::or(&args.n_depth, 0))?;
    let batch = several(non_zero("-b", Numbers::or(&args.batch, 1))?)?;
    let mode = several(args.mode.iter().copied())?;
    let mode = Some(mode).filter(|mode| *mode != Sweep::one(Mode::default()));
    let test = |prompt_tokens, generate_tokens| TestConfig {
        kind: TestKind::Generate,
        prompt_tokens,
        generate_tokens,
        depth: depth.clone(),
        batch: batch.clone(),
        mode: mode.clone(),
        conversation: None,
        turns: None,
        system_tokens: None,
        user_tokens: None,
        reply_tokens: None,
        rank: None,
        layers: None,
        modules: None,
        gradient_checkpointing: None,
        steps: None,
        concurrency: None,
        requests: None,
        ttft_slo_ms: None,
        tpot_slo_ms: None,
    };
    let none = || Sweep::one(0);
    let prefill = Sweep::several(lengths(&args.n_prompt, default(512)));
    let decode = Sweep::several(lengths(&args.n_gen, default(128)));
    let pairs = args.pairs.iter();
    Ok(prefill
        .map(|lengths| test(lengths, none()))
        .into_iter()
        .chain(decode.map(|lengths| test(none(), lengths)))
        .chain(pairs.map(|pair| test(Sweep::one(pair.prompt), Sweep::one(pair.generate))))
        .collect())
}

/// Every backend on every device.
fn targets(args: &Args) -> anyhow::Result<Vec<TargetConfig>> {
    let threads = Numbers::all(&args.threads);
    let threads = Sweep::several(non_zero("-t", threads)?);
    let devices = args.devices.iter().cloned().map(Some);
    let devices: Vec<_> = match args.devices.is_empty() {
        true => vec![None],
        false => devices.collect(),
    };
    let named = !args.backends.is_empty();
    let backends = match named {
        true => args.backends.clone(),
        false => BACKENDS.map(str::to_owned).to_vec(),
    };
    let targets = backends.into_iter().flat_map(|backend| {
        let (dtypes, threads) = (&args.dtypes, &threads);
        devices.iter().map(move |device| TargetConfig {
            backend: backend.clone(),
            device: device.clone(),
            dtypes: dtypes.clone(),
            threads: threads.clone(),
            optional: !named,
        })
    });
    Ok(targets.collect())
}

fn several<T>(values: impl IntoIterator<Item = T>) -> anyhow::Result<Sweep<T>> {
    Sweep::several(values.into_iter().collect()).context("an empty list: write a value")
}

fn non_zero(option: &str, numbers: Vec<usize>) -> anyhow::Result<Vec<NonZeroUsize>> {
    let numbers = numbers.into_iter().map(NonZeroUsize::new);
    let numbers: Option<Vec<_>> = numbers.collect();
    numbers.with_context(|| format!("{option} 0: write 1 or more"))
}
