//! From a config to what will be run: the model in a folder, checked; tests with their ids; targets
//! with their workers.

mod check;
mod chunk;
mod forecast;
mod passages;
mod rates;
mod served;
mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mlxbench_analysis::comparison::Options;
use mlxbench_core::backend::Identity;
use mlxbench_core::lora::Lora;
use mlxbench_core::results::{FailureKind, ModelFacts, Residency, Settings, Sides, TargetId, Test};
use mlxbench_core::{Checkpoint, Dtype, Error as CoreError, GemmaConfig, TokenId, limits};
use mlxbench_models::progress::Watch;
use mlxbench_models::source::Source;

use crate::config::{Config, ModelConfig};
use crate::conversation::{self, conversations};
use crate::locate::Command;
use crate::prompt::{Prompt, PromptSource};
use crate::{Error, Result, script, system};

pub use check::Check;
use check::check;
pub use forecast::{Forecast, Origin, Outlook, forecast};
pub use passages::Passages;
pub use served::ServerCheck;
use targets::{Answers, both_sides, refuse_model, settle, targets};

/// Share of the machine's memory that workers may fill together.
const MEMORY_SHARE: f64 = 0.6;

/// Share of the machine's memory that one worker may hold before it is killed: more would set the
/// machine to swapping, or have the kernel choose whom to kill.
const WORKER_MEMORY_SHARE: f64 = 0.9;

/// A run, before any worker has loaded anything.
#[derive(Debug)]
pub struct Plan {
    /// The config's name.
    pub name: String,
    /// What the config says of itself.
    pub description: Option<String>,
    /// The config as TOML.
    pub config: String,
    /// The model.
    pub model: ModelFacts,
    /// How to measure.
    pub settings: Settings,
    /// Whether nobody said which workers are loaded together: the machine's memory decided.
    pub residency_by_memory: bool,
    /// Tests with the ids that all workers get.
    pub tests: Vec<(Test, Prompt)>,
    /// The prompts of each turn of the tests that are conversations.
    pub conversations: BTreeMap<Test, Vec<Vec<TokenId>>>,
    /// Targets, those that can't run here included.
    pub targets: Vec<Target>,
    /// The two workers that every target is run with, where the run compares them.
    pub sides: Option<Sides>,
    /// What is to be decided between the two sides, and for how long that is tried; `None` measures as often as
    /// the settings say.
    pub until_decided: Option<(Options, Duration)>,
    /// What every target is checked against before it is timed; `None` leaves the check out.
    pub check: Option<Check>,
    /// The same of servers; `None` where nobody said which weights they have.
    pub server_check: Option<ServerCheck>,
    /// A worker that takes longer for one request is killed.
    pub timeout: Duration,
    /// Rest before each repetition.
    pub delay: Duration,
    /// Rest before a repetition that was throttled is measured again.
    pub throttle_pause: Duration,
    /// A worker that holds more is killed.
    pub memory_limit_bytes: u64,
    /// How long each product and stream is timed before the run; `None` leaves them out.
    pub probe: Option<Duration>,
    /// Rows of the products that stand for prefill.
    pub probe_rows: usize,
}

impl Plan {
    /// Tokens that the model knows.
    pub(crate) fn vocab_size(&self) -> usize {
        let config = self.model.config.as_ref();
        config.map_or(usize::MAX, |config| config.vocab_size)
    }

    /// CPU threads that the worker of `target` is given.
    pub(crate) fn threads(&self, target: &TargetId) -> usize {
        target.threads.map_or(self.settings.threads, Into::into)
    }
}

/// A target and how to start it, or why it can't run here.
#[derive(Debug)]
pub struct Target {
    /// Which.
    pub id: TargetId,
    /// Its worker, ready to be started.
    pub worker: Result<Introduced, (FailureKind, String)>,
    /// Whether the run is fine without it.
    pub optional: bool,
}

/// A worker that has introduced itself.
#[derive(Debug, Clone)]
pub struct Introduced {
    /// How to start it.
    pub command: Command,
    /// Names and versions.
    pub identity: Identity,
    /// What the device is, where the framework says.
    pub device_description: Option<String>,
}

/// Plans `config`, read from `config_path`, for its first model ([`Config::of_each_model`] has one of each): fetches
/// or makes the model, checks it, makes the ids and asks every worker what it can do here; `watch` is told how far
/// a model is. With `sides`, the targets of their backend are run with each of them, and no others.
///
/// # Errors
/// When the model can't be had or used, a test doesn't fit it, two targets are the same, or the two
/// sides aren't workers of one of the config's backends.
pub fn plan(
    config: &Config,
    config_path: &Path,
    sides: Option<&Sides>,
    watch: Watch<'_>,
) -> Result<Plan> {
    if config.models.first().on_server().is_some() {
        return served::plan(config, config_path, sides, watch);
    }
    let base = config_path.parent().unwrap_or(Path::new(""));
    let (model, packed, gemma) = resolve_model(config.models.first(), base, watch)?;
    let source = prompt_source(config, base, &model, &gemma)?;
    let tests = listed(config)?;
    let (tests, conversations) =
        conversations(config, tests, base, &model.folder, &source, &gemma)?;
    fit(&tests, &gemma)?;
    let prompt = |test: &Test| match conversations.get(test) {
        Some(prompts) => Prompt {
            context: None,
            prompt: conversation::last(prompts),
        },
        None => source.prompt(test, &gemma),
    };
    let tests: Vec<(Test, Prompt)> = tests.iter().map(|test| (*test, prompt(test))).collect();
    let mut answers = Answers::new(config, config_path);
    let mut targets = match sides {
        None => targets(config, config_path, &mut answers)?,
        Some(sides) => both_sides(config, config_path, sides, &mut answers)?,
    };
    refuse_model(&mut targets, &gemma);
    let sizes: Vec<Test> = tests.iter().map(|(test, _)| *test).collect();
    let memory_bytes = system::machine().memory_bytes;
    let chunk = chunk::chunk(&config.measure, &sizes, &gemma, memory_bytes);
    let quantised = |target: &Target| target.id.placement.precision.scheme().is_some();
    let passages = match targets.iter().any(quantised) {
        true => passages::passages(&config.quantisation, base, &model, packed, &gemma)?,
        false => Err("no target's weights are quantised".into()),
    };
    let check = check(
        config,
        chunk,
        &sizes,
        &source,
        &gemma,
        &mut answers,
        passages,
    )?;
    let residency = config
        .measure
        .residency
        // How fast a process is depends on where its memory came to lie, too: sides that are to be told
        // apart get a process of their own in each round.
        .unwrap_or_else(|| match sides {
            Some(_) => Residency::OneAtATime,
            None => residency(&targets, &sizes, &gemma),
        });
    let measure = &config.measure;
    Ok(Plan {
        name: config.name.clone(),
        description: config.description.clone(),
        config: config.to_toml(),
        model,
        residency_by_memory: measure.residency.is_none(),
        settings: Settings {
            repetitions: measure.repetitions.get(),
            processes: match (sides, residency) {
                (Some(_), Residency::OneAtATime) => None,
                (Some(_), Residency::Together) => Some(1),
                (None, _) => Some(measure.processes.get()),
            },
            max_repetitions: measure.max_repetitions.map(Into::into),
            interval_percent: measure.interval_percent,
            max_seconds: measure.max_seconds,
            delay_seconds: measure.delay_seconds,
            throttle_retries: measure.throttle_retries,
            throttle_pause_seconds: measure.throttle_pause_seconds,
            warmup: measure.warmup,
            max_warmup: measure.most_warmup(),
            chunk,
            threads: measure.threads.map_or_else(system::cores, Into::into),
            seed: measure.seed,
            reference: check.as_ref().map(|check| check.reference.id.clone()),
            compared_positions: check.as_ref().map_or(0, Check::compared),
            residency,
        },
        tests,
        conversations,
        targets,
        sides: sides.cloned(),
        until_decided: None,
        check,
        server_check: None,
        timeout: Duration::from_secs(measure.timeout_seconds.get() as u64),
        delay: checked(limits::seconds("delay_seconds", measure.delay_seconds))?,
        throttle_pause: checked(limits::seconds(
            "throttle_pause_seconds",
            measure.throttle_pause_seconds,
        ))?,
        memory_limit_bytes: measure
            .max_memory_bytes
            .unwrap_or_else(|| worker_memory(memory_bytes)),
        probe_rows: chunk::probe_rows(chunk, &sizes),
        probe: match config.roofline.probe {
            true => Some(checked(limits::seconds(
                "seconds",
                config.roofline.seconds,
            ))?),
            false => None,
        },
    })
}

/// A value of the config as an error of its own: a config that was read holds none.
fn checked<T>(value: Result<T, String>) -> Result<T> {
    value.map_err(|message| Error::Core(CoreError::Invalid(message)))
}

/// The most memory that one worker may hold where nobody says.
pub fn worker_memory(machine_bytes: u64) -> u64 {
    match machine_bytes {
        0 => u64::MAX,
        bytes => (bytes as f64 * WORKER_MEMORY_SHARE) as u64,
    }
}

/// The model's folder, checked, from its source or else from its fallback; whether its weights are packed.
fn resolve_model(
    model: &ModelConfig,
    base: &Path,
    watch: Watch<'_>,
) -> Result<(ModelFacts, bool, GemmaConfig)> {
    let resolve = |source| resolve(source, base, watch);
    let (source, folder, fallback_reason) = match (resolve(&model.source), &model.fallback) {
        (Ok(folder), _) => (&model.source, folder, None),
        (Err(error), None) => return Err(error),
        (Err(error), Some(fallback)) => (fallback, resolve(fallback)?, Some(error.to_string())),
    };
    let checkpoint = Checkpoint::open(&folder)?;
    let gemma = checkpoint.config().clone();
    let facts = ModelFacts {
        name: model_name(source, &folder),
        source: source.clone(),
        fallback_reason,
        folder,
        architecture: format!("{:?}", gemma.generation).to_lowercase(),
        parameters: gemma.parameters(),
        stored_bytes: checkpoint.stored_bytes(),
        config: Some(gemma.clone()),
        warnings: checkpoint.warnings().to_vec(),
    };
    Ok((facts, checkpoint.is_packed(), gemma))
}

/// A model's name for tables: a path or a script says less than the folder's own name.
fn model_name(source: &str, folder: &Path) -> String {
    if let Some(file) = source.strip_prefix("gguf:") {
        let name = Path::new(file).file_name();
        return name.map_or(source.into(), |name| name.to_string_lossy().into_owned());
    }
    let says_what = source.starts_with("hf:") || source.starts_with("synthetic:");
    match folder.file_name() {
        Some(name) if !says_what => name.to_string_lossy().into_owned(),
        _ => source.to_owned(),
    }
}

/// The folder of a source. `script:PROGRAM` runs a program and takes the last line that it prints;
/// relative paths are relative to the config.
fn resolve(source: &str, base: &Path, watch: Watch<'_>) -> Result<PathBuf> {
    if let Some(program) = source.strip_prefix("script:") {
        let printed = script::last_line(&base.join(program), &[]);
        let what = |message| {
            CoreError::model(
                base.join(program),
                format!("{message}: it should print a model folder"),
            )
        };
        return Ok(printed.map_err(what)?.into());
    }
    Ok(self::source(source, base)?.resolve(watch)?)
}

/// A source by its name, relative paths in it relative to the config.
fn source(name: &str, base: &Path) -> Result<Source> {
    Ok(match name.parse()? {
        Source::Folder(folder) => Source::Folder(base.join(folder)),
        Source::Gguf(file) => Source::Gguf(base.join(file)),
        other => other,
    })
}

/// Where the ids of prompts come from.
fn prompt_source(
    config: &Config,
    base: &Path,
    model: &ModelFacts,
    gemma: &GemmaConfig,
) -> Result<PromptSource> {
    let text = match (&config.prompt.text, &config.prompt.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(file)) => {
            let file = base.join(file);
            Some(std::fs::read_to_string(&file).map_err(|error| Error::io(&file, error))?)
        }
        (None, None) => None,
    };
    match text {
        Some(text) => PromptSource::from_text(&text, &model.folder, gemma),
        None => Ok(PromptSource::Random {
            seed: config.measure.seed,
        }),
    }
}

/// The tests of a config.
fn listed(config: &Config) -> Result<Vec<Test>> {
    let tests: Vec<Test> = config
        .tests
        .iter()
        .flat_map(|test| test.expand(config.measure.mode))
        .collect();
    if let Some(twice) = (1..tests.len()).find(|&at| tests[..at].contains(&tests[at])) {
        return Err(Error::Core(CoreError::Invalid(format!(
            "the test {} is listed twice",
            tests[twice]
        ))));
    }
    Ok(tests)
}

/// Refuses tests that need more context than the model has, and trainings of what it hasn't.
fn fit(tests: &[Test], gemma: &GemmaConfig) -> Result<()> {
    let context = gemma.max_position_embeddings;
    if let Some(test) = tests.iter().find(|test| test.row_tokens() > context) {
        return Err(Error::Core(CoreError::Invalid(format!(
            "test {test} needs {} tokens of context, the model has {context}",
            test.row_tokens()
        ))));
    }
    for test in tests.iter().filter_map(Test::as_lora) {
        let all = gemma.num_layers();
        // The default stands for all where there are fewer.
        if test.layers > all.max(Lora::default().layers) {
            return Err(Error::Core(CoreError::Invalid(format!(
                "lora's `layers` is {}, and the model has {all}: write {all} for all of them",
                test.layers
            ))));
        }
        test.lora(0).check(gemma)?;
    }
    Ok(())
}

/// All workers together where their weights and caches fit, else one at a time.
fn residency(targets: &[Target], tests: &[Test], gemma: &GemmaConfig) -> Residency {
    let usable = targets.iter().filter(|target| target.worker.is_ok());
    let needed: u64 = usable
        .map(|target| needed_bytes(target, tests, gemma))
        .sum();
    if needed as f64 <= system::machine().memory_bytes as f64 * MEMORY_SHARE {
        Residency::Together
    } else {
        Residency::OneAtATime
    }
}

/// Bytes that a target needs at least: weights, and what its largest test takes beside them. Of a training the logits of
/// all tokens are counted, too, with their probabilities and gradients, which frameworks hold at once.
fn needed_bytes(target: &Target, tests: &[Test], gemma: &GemmaConfig) -> u64 {
    let precision = target.id.placement.precision;
    let beside = |test: &Test| {
        let logits = test.as_lora().map_or(0, |test| {
            3 * (test.batch * test.tokens * gemma.vocab_size) as u64 * Dtype::F32.size_bytes()
        });
        test.state_bytes(gemma, precision.kv_cache()) + logits
    };
    gemma.weights_bytes(precision) + tests.iter().map(beside).max().unwrap_or(0)
}
