//! What a run leaves behind. A journal takes one [`Record`] a line as things happen; the result
//! file is the same records, folded into one [`RunResult`].

mod equivalence;
mod machine;
mod timeline;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backend::Identity;
use crate::generate::Mode;
use crate::{Error, Nanos, Placement, TokenId};

pub use equivalence::{Equivalence, Fidelity, FirstDivergence, Verdict};
pub use machine::{Conditions, Gpu, Machine, PowerSource};
pub use timeline::Timeline;

/// The version of the result file's schema.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole run: one result file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What was asked, and where it ran.
    pub run: Run,
    /// The targets that loaded a model, as their workers described them.
    pub targets: Vec<TargetFacts>,
    /// Whether each target did the reference's work.
    #[serde(default)]
    pub equivalences: Vec<Equivalence>,
    /// One a repetition that was measured.
    pub samples: Vec<Sample>,
    /// What could not be measured, and why.
    pub failures: Vec<Failure>,
    /// When the last case ended; absent when the run was cut short.
    pub finished: Option<Timestamp>,
}

impl RunResult {
    /// A result without a single case.
    pub fn new(run: Run) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            run,
            targets: Vec::new(),
            equivalences: Vec::new(),
            samples: Vec::new(),
            failures: Vec::new(),
            finished: None,
        }
    }

    /// Adds what a record tells. A target's facts and its equivalence replace older ones of the same target.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Run(run) => self.run = *run,
            Record::Target(facts) => {
                match self.targets.iter_mut().find(|known| known.id == facts.id) {
                    Some(known) => known.load_ns.extend(facts.load_ns),
                    None => self.targets.push(facts),
                }
            }
            Record::Equivalence(equivalence) => {
                self.equivalences
                    .retain(|known| known.target != equivalence.target);
                self.equivalences.push(equivalence);
            }
            Record::Sample(sample) => self.samples.push(sample),
            Record::Failure(failure) => self.failures.push(failure),
            Record::Finished { at } => self.finished = Some(at),
        }
    }

    /// The measured repetitions of a target's test.
    pub fn samples_of(&self, target: &TargetId, test: &Test) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |s| s.target == *target && s.test == *test)
    }

    /// Whether a target did the reference's work, where that was looked at.
    pub fn equivalence_of(&self, target: &TargetId) -> Option<&Equivalence> {
        self.equivalences
            .iter()
            .find(|equivalence| equivalence.target == *target)
    }

    /// What a target failed at.
    pub fn failures_of(&self, target: &TargetId) -> impl Iterator<Item = &Failure> {
        self.failures
            .iter()
            .filter(move |failure| failure.target == *target)
    }
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Run(Box<Run>),
    /// A worker has loaded the model.
    Target(TargetFacts),
    /// A target was compared with the reference.
    Equivalence(Equivalence),
    /// A repetition was measured.
    Sample(Sample),
    /// A case could not be measured.
    Failure(Failure),
    /// The last line of a run that came to its end.
    Finished {
        /// When.
        at: Timestamp,
    },
}

/// What was asked, and where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The config's name.
    pub name: String,
    /// What the config says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When the run started.
    pub started: Timestamp,
    /// The harness.
    pub mlxbench: Harness,
    /// The machine.
    pub machine: Machine,
    /// What state it was in.
    #[serde(default)]
    pub conditions: Conditions,
    /// The model.
    pub model: ModelFacts,
    /// How it was measured.
    pub settings: Settings,
    /// The tests, in the order of the config.
    pub tests: Vec<Test>,
    /// The targets, in the order of the config.
    pub targets: Vec<TargetId>,
}

/// Which build of mlxbench measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Harness {
    /// Its version.
    pub version: String,
    /// Its git commit, where it was built from a checkout.
    pub commit: Option<String>,
    /// `release` or `debug`. Figures of a debug build mean little.
    pub profile: String,
}

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Its name in tables: the source's, or the folder's where the source is a path or a script.
    pub name: String,
    /// As the config names it; the fallback, where that was taken.
    pub source: String,
    /// Why the fallback was taken, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// The folder that was loaded.
    pub folder: PathBuf,
    /// `gemma3`.
    pub architecture: String,
    /// Parameters, tied weights counted once.
    pub parameters: u64,
    /// Bytes of its tensors as stored.
    pub stored_bytes: u64,
}

/// How it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Measured repetitions a case.
    pub repetitions: usize,
    /// Unmeasured repetitions before them.
    pub warmup: usize,
    /// When the host waits for a token.
    pub mode: Mode,
    /// The most tokens appended at once.
    pub chunk: usize,
    /// CPU threads asked for.
    pub threads: usize,
    /// Seed of random prompts.
    pub seed: u64,
    /// The target that the others are compared with; absent when the config says `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<TargetId>,
    /// Positions at which they are compared.
    #[serde(default)]
    pub compared_positions: usize,
    /// Whether all workers were kept loaded together, or one at a time.
    pub residency: Residency,
}

/// Which workers hold their model in memory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// All, so that repetitions interleave without loading again.
    Together,
    /// One: each turn of a target starts a worker and loads the model.
    OneAtATime,
}

/// Backend x device x dtype: `candle/cpu/f32`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetId {
    /// The backend's name.
    pub backend: String,
    /// Device and dtype.
    pub placement: Placement,
}

impl FromStr for TargetId {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let malformed = || Error::Invalid(format!("`{s}`: write BACKEND/DEVICE/DTYPE"));
        let (backend, placement) = s.split_once('/').ok_or_else(malformed)?;
        let (device, dtype) = placement.rsplit_once('/').ok_or_else(malformed)?;
        Ok(Self {
            backend: backend.into(),
            placement: Placement {
                device: device.parse()?,
                dtype: dtype.parse()?,
            },
        })
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.backend, self.placement)
    }
}

/// What a worker said of itself once its model was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Which target.
    pub id: TargetId,
    /// Names and versions.
    pub identity: Identity,
    /// What the device is, where the framework says.
    pub device_description: Option<String>,
    /// CPU threads in effect.
    pub threads: usize,
    /// Load times, one a process.
    pub load_ns: Vec<Nanos>,
}

/// A workload: a context in the cache, a prompt, tokens to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Test {
    /// Tokens handed over when the clock starts; 0 measures decode alone.
    pub prompt_tokens: usize,
    /// Tokens generated; 0 measures prefill alone.
    pub generate_tokens: usize,
    /// Tokens in the cache before the clock starts.
    pub depth: usize,
    /// Rows.
    pub batch: usize,
}

/// llama-bench's names: `pp512`, `tg128`, `pp512+tg128`, ` @ d4096` for depth, ` b4` for batch.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt_tokens, self.generate_tokens) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, generate) => write!(f, "tg{generate}")?,
            (prompt, generate) => write!(f, "pp{prompt}+tg{generate}")?,
        }
        if self.depth > 0 {
            write!(f, " @ d{}", self.depth)?;
        }
        if self.batch > 1 {
            write!(f, " b{}", self.batch)?;
        }
        Ok(())
    }
}

/// One measured repetition of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Which repetition, counted from 0.
    pub repetition: usize,
    /// When each token was readable on the host, from the handing over of the prompt.
    pub token_ns: Vec<Nanos>,
    /// The tokens of each row.
    pub tokens: Vec<Vec<TokenId>>,
    /// Whether the last logits were finite.
    pub finite: bool,
    /// Peak memory of the worker process up to here, by the operating system's account.
    pub peak_memory_bytes: Option<u64>,
    /// Peak of the framework's own device memory in this repetition.
    pub device_peak_bytes: Option<u64>,
}

/// A case, or a whole target, that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which target.
    pub target: TargetId,
    /// Which test; absent when the target never got to one.
    pub test: Option<Test>,
    /// What kind.
    pub kind: FailureKind,
    /// What happened, with the worker's last words.
    pub message: String,
}

/// Why something was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No worker program was found.
    Missing,
    /// The backend can't do it here.
    Unsupported,
    /// The worker reported an error.
    Failed,
    /// The worker process ended.
    Died,
    /// The worker didn't answer in time.
    TimedOut,
    /// The worker answered with something else than the protocol.
    Protocol,
}

impl FailureKind {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
            Self::Died => "died",
            Self::TimedOut => "timed out",
            Self::Protocol => "protocol error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_carry_the_names_of_llama_bench() {
        let name = |prompt_tokens, generate_tokens, depth, batch| {
            Test {
                prompt_tokens,
                generate_tokens,
                depth,
                batch,
            }
            .to_string()
        };
        assert_eq!(name(512, 0, 0, 1), "pp512");
        assert_eq!(name(0, 128, 0, 1), "tg128");
        assert_eq!(name(512, 128, 4096, 4), "pp512+tg128 @ d4096 b4");
    }
}
