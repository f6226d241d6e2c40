//! A plan of requests to servers. Of their model the name is known, and the weights where the config says them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mlxbench_core::results::{ModelFacts, Residency, Settings, Sides, Test};
use mlxbench_core::{Checkpoint, Error as CoreError, TokenBatch, TokenId, limits};
use mlxbench_models::progress::Watch;
use tokenizers::Tokenizer;

use super::passages::OWN_TEXT;
use super::targets::{Answers, settle, targets};
use super::{Plan, Target, checked, listed, resolve, worker_memory};
use crate::config::{Config, EndpointKind};
use crate::conversation::question;
use crate::prompt::{Prompt, encode, read_tokenizer};
use crate::{Error, Result, system};

/// Plans `config`, read from `config_path`, whose targets are servers.
///
/// # Errors
/// When a test or a target is listed twice, two sides are asked for, or the weights that servers are compared with
/// can't be had or make no prompt.
pub(super) fn plan(
    config: &Config,
    config_path: &Path,
    sides: Option<&Sides>,
    watch: Watch<'_>,
) -> Result<Plan> {
    if sides.is_some() {
        return Err(Error::Core(CoreError::Invalid(
            "--ab compares two workers, and this config measures servers: name both as targets"
                .into(),
        )));
    }
    // The worker draws the words of prompts itself: a server has a tokenizer of its own.
    let no_ids = Prompt {
        context: None,
        prompt: TokenBatch::new(&[vec![0]]).map_err(Error::Core)?,
    };
    let tests = listed(config)?.into_iter();
    let tests: Vec<(Test, Prompt)> = tests.map(|test| (test, no_ids.clone())).collect();
    let mut answers = Answers::new(config, config_path);
    let measure = &config.measure;
    let targets = targets(config, config_path, &mut answers)?;
    let check = check(config, config_path, &mut answers, watch)?;
    Ok(Plan {
        name: config.name.clone(),
        description: config.description.clone(),
        config: config.to_toml(),
        model: model(config, check.as_ref()),
        residency_by_memory: false,
        settings: Settings {
            repetitions: measure.repetitions.get(),
            processes: Some(measure.processes.get()),
            max_repetitions: measure.max_repetitions.map(Into::into),
            interval_percent: measure.interval_percent,
            max_seconds: measure.max_seconds,
            delay_seconds: measure.delay_seconds,
            throttle_retries: measure.throttle_retries,
            throttle_pause_seconds: measure.throttle_pause_seconds,
            warmup: measure.warmup,
            max_warmup: measure.most_warmup(),
            chunk: measure.chunk.map_or(1, Into::into),
            threads: measure.threads.map_or_else(system::cores, Into::into),
            seed: measure.seed,
            reference: check.as_ref().map(|check| check.reference.id.clone()),
            compared_positions: check.as_ref().map_or(0, |check| check.positions),
            residency: Residency::Together,
        },
        tests,
        conversations: Default::default(),
        targets,
        sides: None,
        until_decided: None,
        check: None,
        server_check: check,
        timeout: Duration::from_secs(measure.timeout_seconds.get() as u64),
        delay: checked(limits::seconds("delay_seconds", measure.delay_seconds))?,
        throttle_pause: checked(limits::seconds(
            "throttle_pause_seconds",
            measure.throttle_pause_seconds,
        ))?,
        memory_limit_bytes: measure
            .max_memory_bytes
            .unwrap_or_else(|| worker_memory(system::machine().memory_bytes)),
        probe_rows: 1,
        probe: None,
    })
}

/// How servers are checked: each generates after a prompt, and the reference scores what it generated.
#[derive(Debug)]
pub struct ServerCheck {
    /// The target whose probabilities theirs are compared with.
    pub reference: Target,
    /// The folder of the model that they should have.
    pub weights: PathBuf,
    /// Its tokenizer.
    pub tokenizer: Box<Tokenizer>,
    /// What servers are asked: a message, or the text to go on with.
    pub prompt: String,
    /// The ids that it has on each server, by the name of its backend.
    pub ids: BTreeMap<String, Vec<TokenId>>,
    /// Tokens that each generates at most.
    pub positions: usize,
    /// Tokens that the model knows.
    pub vocab_size: usize,
}

/// Words of the prompt that servers are asked to go on with.
const WORDS: usize = 48;

/// The check, where the config says what weights the servers have and names a reference.
fn check(
    config: &Config,
    config_path: &Path,
    answers: &mut Answers<'_>,
    watch: Watch<'_>,
) -> Result<Option<ServerCheck>> {
    let Some(weights) = &config.models.first().weights else {
        return Ok(None);
    };
    let Some(id) = config.equivalence.reference()? else {
        return Ok(None);
    };
    let reference = Target {
        worker: settle(&id, answers.of(&id.backend)),
        id,
        optional: false,
    };
    if let Err((_, why)) = &reference.worker {
        return Err(Error::Core(CoreError::Invalid(format!(
            "[model] has weights, and the reference {} that servers are compared with can't run: {why}",
            reference.id
        ))));
    }
    let base = config_path.parent().unwrap_or(Path::new(""));
    let folder = resolve(weights, base, watch)?;
    let gemma = Checkpoint::open(&folder)?.config().clone();
    let tokenizer = read_tokenizer(&folder)?;
    let prompt: Vec<&str> = OWN_TEXT.split_whitespace().take(WORDS).collect();
    let prompt = prompt.join(" ");
    let named = |name: &String| config.targets.iter().any(|target| target.backend == *name);
    let ids = config.backends.iter().filter(|(name, _)| named(name));
    let ids = ids.map(|(name, backend)| {
        let ids = match backend.endpoint {
            Some(EndpointKind::Completions) => encode(&tokenizer, &prompt, &folder, &gemma)?,
            Some(EndpointKind::Chat) | None => {
                question(&prompt, &folder, &tokenizer, &gemma).map_err(|error| {
                    Error::Core(CoreError::Invalid(format!(
                        "[backend.{name}] is asked for chats, and the model of `weights` makes no prompt of one: \
                         {error}; or have it asked for endpoint = \"completions\""
                    )))
                })?
            }
        };
        Ok((name.clone(), ids))
    });
    Ok(Some(ServerCheck {
        ids: ids.collect::<Result<_>>()?,
        reference,
        weights: folder,
        tokenizer: Box::new(tokenizer),
        prompt,
        positions: config.equivalence.positions.get(),
        vocab_size: gemma.vocab_size,
    }))
}

/// What is known of a model that a server has.
fn model(config: &Config, check: Option<&ServerCheck>) -> ModelFacts {
    let model = config.models.first();
    let name = model.on_server().unwrap_or(&model.source);
    // Some servers call a model by its folder.
    let folder = Path::new(name)
        .is_absolute()
        .then(|| Path::new(name).file_name());
    let name = folder
        .flatten()
        .map_or(name.into(), |last| last.to_string_lossy());
    ModelFacts {
        name: name.into_owned(),
        source: model.source.clone(),
        fallback_reason: None,
        folder: check.map_or_else(PathBuf::new, |check| check.weights.clone()),
        architecture: "not stated".into(),
        parameters: 0,
        stored_bytes: 0,
        config: None,
        warnings: Vec::new(),
    }
}
