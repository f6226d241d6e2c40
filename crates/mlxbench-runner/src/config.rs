//! The benchmark's TOML file. Unknown keys are refused with the nearest valid one.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use mlxbench_core::generate::Mode;
use mlxbench_core::results::{Residency, TargetId};
use mlxbench_core::{Device, Dtype};
use serde::Deserialize;

use crate::{Error, Result};

/// A benchmark: a model, tests and targets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names the folder of its results; letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What it measures and why, for readers of the report.
    pub description: Option<String>,
    /// Which model.
    pub model: ModelConfig,
    /// How to measure.
    #[serde(default)]
    pub measure: MeasureConfig,
    /// Against what every target is checked before it is timed.
    #[serde(default)]
    pub equivalence: EquivalenceConfig,
    /// What to prompt with; random token ids when absent.
    #[serde(default)]
    pub prompt: PromptConfig,
    /// The workloads.
    #[serde(rename = "test")]
    pub tests: Vec<TestConfig>,
    /// The targets.
    #[serde(rename = "target")]
    pub targets: Vec<TargetConfig>,
    /// Commands of workers that aren't found by their name.
    #[serde(default, rename = "backend")]
    pub backends: BTreeMap<String, BackendConfig>,
}

/// `[model]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder, `hf:owner/name[@revision]` or `synthetic:PRESET[@seed]`.
    pub source: String,
    /// Taken, and said so in the result, when the source can't be had.
    pub fallback: Option<String>,
}

/// `[measure]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureConfig {
    /// Measured repetitions a case.
    pub repetitions: NonZeroUsize,
    /// Unmeasured repetitions before them.
    pub warmup: usize,
    /// When the host waits for a token.
    pub mode: Mode,
    /// The most tokens appended at once.
    pub chunk: NonZeroUsize,
    /// CPU threads; as many as there are physical cores when absent.
    pub threads: Option<NonZeroUsize>,
    /// Seed of random prompts.
    pub seed: u64,
    /// A worker that takes longer for one request is killed.
    pub timeout_seconds: NonZeroUsize,
    /// Rest before each repetition, so that a machine can cool down.
    pub pause_seconds: f64,
    /// Which workers hold their model at the same time; by the machine's memory when absent.
    pub residency: Option<Residency>,
}

impl Default for MeasureConfig {
    fn default() -> Self {
        let count = |n| NonZeroUsize::new(n).expect("written as a non-zero literal");
        Self {
            repetitions: count(5),
            warmup: 1,
            mode: Mode::Pipelined,
            chunk: count(512),
            threads: None,
            seed: 0,
            timeout_seconds: count(600),
            pause_seconds: 0.0,
            residency: None,
        }
    }
}

/// `[equivalence]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EquivalenceConfig {
    /// `BACKEND/DEVICE/DTYPE` of the target that the others are compared with, among the config's
    /// targets or not; `none` leaves the check out.
    pub reference: String,
    /// Positions at which they are compared: tokens that the reference generates.
    pub positions: NonZeroUsize,
    /// The most tokens of the longest test's prompt that come before them.
    pub prompt_tokens: NonZeroUsize,
}

impl Default for EquivalenceConfig {
    fn default() -> Self {
        let count = |n| NonZeroUsize::new(n).expect("written as a non-zero literal");
        Self {
            reference: "candle/cpu/f32".into(),
            positions: count(32),
            prompt_tokens: count(512),
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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// A text, repeated or cut to each test's number of tokens.
    pub text: Option<String>,
    /// A file that holds the text; relative to the config.
    pub file: Option<PathBuf>,
}

/// `[[test]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestConfig {
    /// Tokens handed over when the clock starts; 0 measures decode alone.
    #[serde(default)]
    pub prompt_tokens: usize,
    /// Tokens to generate; 0 measures prefill alone.
    #[serde(default)]
    pub generate_tokens: usize,
    /// Tokens in the cache before the clock starts.
    #[serde(default)]
    pub depth: usize,
    /// Rows.
    #[serde(default = "one")]
    pub batch: NonZeroUsize,
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// `[[target]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// `candle`, `tch`, `mlx`, `mock` or a name of `[backend.NAME]`.
    pub backend: String,
    /// The device; the best that the backend finds when absent.
    pub device: Option<Device>,
    /// One target a dtype.
    pub dtypes: Vec<Dtype>,
    /// Whether the run is fine without it, where the machine lacks the worker or the device.
    #[serde(default)]
    pub optional: bool,
}

/// `[backend.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// Program and arguments of a worker that speaks the protocol.
    pub command: Vec<String>,
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

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?"));
            format!("{error}{}", hint.unwrap_or_default())
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return Err(format!(
                "name = {:?} names the folder of the results: write letters, digits, `.`, `_`, `-`",
                self.name
            ));
        }
        if self.tests.is_empty() {
            return Err("no [[test]]: write at least one, such as prompt_tokens = 64".into());
        }
        if self.targets.is_empty() {
            return Err("no [[target]]: write at least one, such as backend = \"candle\"".into());
        }
        for test in &self.tests {
            if test.prompt_tokens == 0 && test.generate_tokens == 0 {
                return Err("a [[test]] needs prompt_tokens, generate_tokens or both".into());
            }
            if test.prompt_tokens == 0 && test.generate_tokens == 1 {
                return Err(
                    "generate_tokens = 1 alone leaves no decode step to time: write 2 or \
                            more, or add prompt_tokens"
                        .into(),
                );
            }
        }
        if let Some(target) = self.targets.iter().find(|target| target.dtypes.is_empty()) {
            return Err(format!(
                "the [[target]] with backend = {:?} has no dtypes: write dtypes = [\"f32\"]",
                target.backend
            ));
        }
        if let Some((name, _)) = self.backends.iter().find(|(_, b)| b.command.is_empty()) {
            return Err(format!("[backend.{name}] has an empty command"));
        }
        if !(self.measure.pause_seconds >= 0.0 && self.measure.pause_seconds.is_finite()) {
            return Err("pause_seconds must be 0 or more".into());
        }
        if let Err(error) = self.equivalence.reference() {
            return Err(format!(
                "[equivalence] reference: {error}, such as candle/cpu/f32, or none"
            ));
        }
        if self.prompt.text.is_some() && self.prompt.file.is_some() {
            return Err("[prompt] takes `text` or `file`, not both".into());
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "good"
[model]
source = "synthetic:gemma-3-270m"
[[test]]
prompt_tokens = 64
[[target]]
backend = "mock"
dtypes = ["f32"]
"#;

    fn refusal(config: &str) -> String {
        Config::parse(config).unwrap_err()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.measure.repetitions.get(), 5);
        assert_eq!(config.tests[0].batch.get(), 1);
        assert_eq!(config.targets[0].device, None);
    }

    #[test]
    fn an_unknown_key_is_answered_with_its_line_and_the_nearest_one() {
        let message = refusal(&GOOD.replace("prompt_tokens", "promt_tokens"));
        assert!(message.contains("line 6"), "{message}");
        assert!(
            message.contains("did you mean `prompt_tokens`?"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        let message = refusal(&GOOD.replace("source =", "fallback ="));
        assert!(message.contains("missing field `source`"), "{message}");
        assert!(message.contains("line 3"), "{message}");
    }

    #[test]
    fn wrong_types_and_counts_are_refused_where_they_stand() {
        let with = |line: &str| refusal(&format!("{GOOD}[measure]\n{line}\n"));
        assert!(with("repetitions = \"five\"").contains("line 11"));
        assert!(with("repetitions = 0").contains("expected a nonzero usize"));
        assert!(with("repetitions = -3").contains("`-3`"));
        assert!(with("mode = \"fast\"").contains("`pipelined`"));
    }

    #[test]
    fn a_test_that_does_nothing_is_refused() {
        let message = refusal(&GOOD.replace("prompt_tokens = 64", "prompt_tokens = 0"));
        assert!(
            message.contains("prompt_tokens, generate_tokens or both"),
            "{message}"
        );
    }

    #[test]
    fn a_reference_is_a_target_or_none() {
        let with = |reference| format!("{GOOD}[equivalence]\nreference = {reference:?}\n");
        let message = refusal(&with("candle"));
        assert!(message.contains("BACKEND/DEVICE/DTYPE"), "{message}");
        let config = Config::parse(&with("none")).unwrap();
        assert_eq!(config.equivalence.reference().unwrap(), None);
        let config = Config::parse(&with("tch/cuda:1/bf16")).unwrap();
        let reference = config.equivalence.reference().unwrap().unwrap();
        assert_eq!(reference.to_string(), "tch/cuda:1/bf16");
    }

    #[test]
    fn a_name_that_leaves_the_results_folder_is_refused() {
        let message = refusal(&GOOD.replace("\"good\"", "\"../../etc\""));
        assert!(message.contains("letters, digits"), "{message}");
    }
}
