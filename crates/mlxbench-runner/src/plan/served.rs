//! A plan of requests to servers, whose model nobody here has: only its name is known.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mlxbench_core::results::{ModelFacts, Residency, Settings, Sides, Test};
use mlxbench_core::{Error as CoreError, TokenBatch, limits};

use super::targets::{Answers, targets};
use super::{Plan, checked, listed, worker_memory};
use crate::config::Config;
use crate::prompt::Prompt;
use crate::{Error, Result, system};

/// Plans `config`, read from `config_path`, whose targets are servers.
///
/// # Errors
/// When a test or a target is listed twice, or two sides are asked for.
pub(super) fn plan(config: &Config, config_path: &Path, sides: Option<&Sides>) -> Result<Plan> {
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
    Ok(Plan {
        name: config.name.clone(),
        description: config.description.clone(),
        config: config.to_toml(),
        model: model(config),
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
            reference: None,
            compared_positions: 0,
            residency: Residency::Together,
        },
        tests,
        conversations: Default::default(),
        targets: targets(config, config_path, &mut answers)?,
        sides: None,
        until_decided: None,
        check: None,
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

/// What is known of a model that a server has.
fn model(config: &Config) -> ModelFacts {
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
        folder: PathBuf::new(),
        architecture: "not stated".into(),
        parameters: 0,
        stored_bytes: 0,
        config: None,
        warnings: Vec::new(),
    }
}
