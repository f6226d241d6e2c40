//! The benchmark's TOML file. Unknown keys are refused with the nearest valid one.

mod check;
mod expand;
mod server;
mod sweep;
mod test;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use mlxbench_core::generate::Mode;
use mlxbench_core::results::{Residency, TargetId};
use mlxbench_core::{Device, Precision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub(crate) use expand::label;
pub use server::EndpointKind;
pub(crate) use server::SERVER;
pub use sweep::Sweep;
pub use test::{TestConfig, TestKind};

/// A benchmark: a model, tests and targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names the folder of its results; letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What it measures and why, for readers of the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which model, or several: each is measured by itself and has a result of its own.
    #[serde(rename = "model")]
    pub models: Sweep<ModelConfig>,
    /// How to measure.
    #[serde(default, skip_serializing_if = "is_default")]
    pub measure: MeasureConfig,
    /// How the limits of the machine are measured.
    #[serde(default, skip_serializing_if = "is_default")]
    pub roofline: RooflineConfig,
    /// Against what every target is checked before it is timed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub equivalence: EquivalenceConfig,
    /// What shows the cost of quantised weights.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quantisation: QuantisationConfig,
    /// What to prompt with; random token ids when absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prompt: PromptConfig,
    /// The workloads.
    #[serde(rename = "test")]
    pub tests: Vec<TestConfig>,
    /// The targets.
    #[serde(rename = "target")]
    pub targets: Vec<TargetConfig>,
    /// Commands of workers that aren't found by their name.
    #[serde(
        default,
        rename = "backend",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub backends: BTreeMap<String, BackendConfig>,
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder, `hf:owner/name[@revision]`, `gguf:FILE` or `synthetic:PRESET[@seed]`; `server:NAME` where all
    /// targets are servers that have a model of that name.
    pub source: String,
    /// Taken, and said so in the result, when the source can't be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Of a model on servers: its weights, as a source other than `server:`. With them the servers' log-probabilities
    /// are compared with the reference's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
}

impl ModelConfig {
    /// What tells it from other models in the name of a folder: the last part of its source.
    pub fn short_name(&self) -> String {
        let source = self.source.trim_end_matches('/');
        let last = source.rsplit(['/', ':']).next().unwrap_or(source);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        last.replace(|c| !plain(c), "-")
    }

    /// Whether it may have learnt a language: random weights have nothing to lose by being quantised.
    pub(crate) fn has_text(&self) -> bool {
        !self.source.starts_with("synthetic:")
    }
}

/// `[measure]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureConfig {
    /// Measured repetitions a case; at least, where `interval_percent` is given.
    pub repetitions: NonZeroUsize,
    /// Worker processes a target that repetitions are spread over, as evenly as can be and each with one at least:
    /// the luck that a process has for its whole life is then part of every interval. 1 where loading takes too
    /// long: the report says that luck isn't covered. Each process is warmed up. With `--ab` each repetition has
    /// a process, unless `residency` is `together`.
    pub processes: NonZeroUsize,
    /// Go on until the 95 % interval of every rate of a test reaches no further than so many per
    /// cent of the median to either side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_percent: Option<f64>,
    /// The most repetitions then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_repetitions: Option<NonZeroUsize>,
    /// A test that has been measured for so long isn't repeated any more; looked at after each round, where
    /// workers are loaded one at a time after each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// Unmeasured repetitions before them, at least; 0 for none.
    pub warmup: usize,
    /// Unmeasured repetitions at most, while the last two differ by more than 5 %; `warmup` alone
    /// where that is more.
    pub max_warmup: usize,
    /// When the host waits for a token, where a test doesn't say.
    pub mode: Mode,
    /// The most tokens appended at once; when absent 2,048 as in mlx-lm, or fewer where the attention
    /// scores of so many would take too much of the machine's memory. A GPU's own memory isn't looked at: give a
    /// smaller one where that is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<NonZeroUsize>,
    /// CPU threads; as many as there are physical cores when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of random prompts and of the order in which targets take turns.
    pub seed: u64,
    /// A worker that takes longer for one request is killed.
    pub timeout_seconds: NonZeroUsize,
    /// Rest before each repetition, so that a machine can cool down.
    pub delay_seconds: f64,
    /// A repetition in which the device was throttled is measured again at most so many times; 0 marks it
    /// only.
    pub throttle_retries: usize,
    /// Rest before that.
    pub throttle_pause_seconds: f64,
    /// A worker that holds more memory is killed; 90 % of the machine's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Which workers hold their model at the same time; by the machine's memory when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
}

impl MeasureConfig {
    /// Unmeasured repetitions at most: none where none are asked for, else as many as are asked for at least.
    pub fn most_warmup(&self) -> usize {
        match self.warmup {
            0 => 0,
            least => self.max_warmup.max(least),
        }
    }
}

impl Default for MeasureConfig {
    fn default() -> Self {
        let count = |n| NonZeroUsize::new(n).expect("written as a non-zero literal");
        Self {
            repetitions: count(6),
            processes: count(3),
            interval_percent: None,
            max_repetitions: None,
            max_seconds: None,
            warmup: 1,
            max_warmup: 4,
            mode: Mode::Pipelined,
            chunk: None,
            threads: None,
            seed: 0,
            timeout_seconds: count(600),
            delay_seconds: 0.0,
            throttle_retries: 2,
            throttle_pause_seconds: 10.0,
            max_memory_bytes: None,
            residency: None,
        }
    }
}

/// `[roofline]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RooflineConfig {
    /// Whether products and streams are timed before the run, so that rates can be shown as a
    /// share of the machine's limit.
    pub probe: bool,
    /// How long each is repeated.
    pub seconds: f64,
}

impl Default for RooflineConfig {
    fn default() -> Self {
        Self {
            probe: true,
            seconds: 0.3,
        }
    }
}

/// `[equivalence]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EquivalenceConfig {
    /// `BACKEND/DEVICE/DTYPE` of the target that the others are compared with, among the config's
    /// targets or not; `none` leaves the check out.
    pub reference: String,
    /// Positions at which they are compared: tokens that the reference generates, over two rows.
    pub positions: NonZeroUsize,
    /// The most tokens of a row of the longest test, those in the cache included, that come before
    /// them. When absent 64 more than the larger one of `chunk` and the model's window, so that
    /// tests which go past these are checked past them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<NonZeroUsize>,
}

impl Default for EquivalenceConfig {
    fn default() -> Self {
        let count = |n| NonZeroUsize::new(n).expect("written as a non-zero literal");
        Self {
            reference: "candle/cpu/f32".into(),
            positions: count(32),
            prompt_tokens: None,
        }
    }
}

/// `[quantisation]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuantisationConfig {
    /// A text file, relative to the config, over which quantised weights are compared with full precision;
    /// a text of mlxbench's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// Positions at which they are compared, rounded up to whole passages of 192; 0 leaves the comparison
    /// out, and its figures. Each passage takes 0.2 GB of temporary files with Gemma 3's vocabulary.
    pub positions: usize,
}

impl Default for QuantisationConfig {
    fn default() -> Self {
        Self {
            text: None,
            positions: 2048,
        }
    }
}

impl EquivalenceConfig {
    /// The reference; `None` when the check is left out.
    ///
    /// # Errors
    /// When it isn't written as a target.
    pub fn reference(&self) -> Result<Option<TargetId>, mlxbench_core::Error> {
        match self.reference.as_str() {
            "none" => Ok(None),
            target => target.parse().map(Some),
        }
    }
}

/// `[prompt]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// A text, repeated or cut to each test's number of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A file that holds the text; relative to the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `[[target]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// `candle`, `tch`, `mlx`, `mock` or a name of `[backend.NAME]`.
    pub backend: String,
    /// The device; the best that the backend finds when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// One target each: `f32`, `bf16`, `f16`, or weights x compute where weights are quantised:
    /// `q4-bf16`, `q8-f32`, and `native-bf16` for those of a quantised checkpoint.
    pub dtypes: Vec<Precision>,
    /// CPU threads, one target each; `[measure]`'s when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<Sweep<NonZeroUsize>>,
    /// Whether the run is fine without it, where the machine lacks the worker or the device.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optional: bool,
}

/// `[backend.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Program and arguments of a worker that speaks the protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// In its place: the address of a server's OpenAI-compatible API, such as http://127.0.0.1:8080/v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The model's name there; that of `[model]` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether its chats or its completions are asked; `chat` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointKind>,
    /// The environment variable that holds its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Keys that are sent with each request, such as { ignore_eos = true } where the server knows that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// When the file can't be read, isn't TOML, has an unknown or missing key, a wrong type, or a
    /// value that makes no sense. The message names the line and what to write instead.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        Self::parse(&text).map_err(|message| Error::Config {
            path: path.to_owned(),
            message,
        })
    }

    /// `config` if it makes sense; `path` stands for it in messages.
    ///
    /// # Errors
    /// As [`read`](Self::read), when a value makes no sense.
    pub fn checked(config: Self, path: &Path) -> Result<Self> {
        match config.check() {
            Ok(()) => Ok(config),
            Err(message) => Err(Error::Config {
                path: path.to_owned(),
                message,
            }),
        }
    }

    /// The config as TOML, which [`read`](Self::read) takes; sections with their defaults are left out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("its keys are strings, and its numbers are those of TOML")
    }

    /// A config of each model: of several each has the config's name with the model's, so that each has its own
    /// results.
    pub fn of_each_model(&self) -> Vec<Self> {
        let models = self.models.values();
        let alone = |model: &ModelConfig| {
            let name = match models.len() {
                1 => self.name.clone(),
                _ => format!("{}-{}", self.name, model.short_name()),
            };
            Self {
                name,
                models: Sweep::one(model.clone()),
                ..self.clone()
            }
        };
        models.iter().map(alone).collect()
    }

    /// Reads and checks the text of a config.
    ///
    /// # Errors
    /// As [`read`](Self::read), in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?"));
            format!("{error}{}", hint.unwrap_or_default())
        })?;
        config.check()?;
        Ok(config)
    }
}

/// The valid key nearest to the unknown one of serde's message, where one is near.
fn nearest_key(message: &str) -> Option<&str> {
    let mut names = message
        .strip_prefix("unknown field ")?
        .split('`')
        .skip(1)
        .step_by(2);
    let unknown = names.next()?;
    names
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
