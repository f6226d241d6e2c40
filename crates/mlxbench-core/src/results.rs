//! What a run leaves behind. A journal takes one [`Record`] a line as things happen; the result
//! file is the same records, folded into one [`RunResult`].

//!
//! | module | its subject |
//! |---|---|
//! | `target` | targets: what is measured |
//! | `workload` | tests: what it is measured at |
//! | `metric` | the figures |
//! | `samples` | repetitions, warm-ups, and why there were no more of them |
//! | `requests` | what became of requests to a server |
//! | `failures` | what could not be measured, and why |
//! | `equivalence` | whether a target did the reference's work |
//! | `roofline` | how fast the machine can be |
//! | `machine` | the machine that measured, and its state |
//! | `counted` | which measurements count |
//! | `device` | what the meter and the sensors of a device told |
//! | `timeline` | memory over time |
//! | `migrate` | results of older versions |
//! | `check` | whether a result's numbers can be believed |

pub mod check;
mod counted;
mod device;
mod equivalence;
mod failures;
mod machine;
mod metric;
pub mod migrate;
mod requests;
mod roofline;
mod samples;
mod target;
mod timeline;
mod workload;

use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::GemmaConfig;
use crate::gemma::Storage;

pub use device::{ClockRange, DeviceConditions, EnergyUnavailable, PowerMeter, ThrottleReason};
pub use equivalence::{
    CostFigures, Equivalence, Fidelity, FirstDivergence, Parting, Perplexity, QuantisationCost,
    TestCheck, TrainingFigures, Verdict,
};
pub use failures::{Failure, FailureKind};
pub use machine::{Conditions, Gpu, Machine, PowerSource};
pub use metric::Metric;
pub use requests::ServedRequest;
pub use roofline::{ProductProbe, StreamKernel, StreamProbe};
pub use samples::{PeakSince, Sample, StopReason, Stopped, Turns, Warmup};
pub use target::{Side, TargetFacts, TargetId};
pub use timeline::Timeline;
pub use workload::{ChatTest, GenerateTest, Label, LoraTest, ServeTest, Test};

/// The version of the result file's schema.
pub const SCHEMA_VERSION: u32 = 3;

/// A whole run: one result file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether each target did it in each conversation and training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<TestCheck>,
    /// How far the reference was from a target's choice where tokens of their timed tests part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partings: Vec<Parting>,
    /// What each way of quantising costs, where a target's weights are quantised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantisation_costs: Vec<QuantisationCost>,
    /// How fast the CPU reads and writes memory without any framework.
    #[serde(default)]
    pub streams: Vec<StreamProbe>,
    /// How fast each target's framework multiplies by matrices of the model's shapes.
    #[serde(default)]
    pub products: Vec<ProductProbe>,
    /// What each process did before its repetitions counted.
    #[serde(default)]
    pub warmups: Vec<Warmup>,
    /// One a repetition that was measured.
    pub samples: Vec<Sample>,
    /// What could not be measured, and why.
    pub failures: Vec<Failure>,
    /// Why each test wasn't repeated any more.
    #[serde(default)]
    pub stopped: Vec<Stopped>,
    /// When the run was gone on with after it had been cut short.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub resumed: Vec<Timestamp>,
    /// What state the machine was in at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions_after: Option<Conditions>,
    /// When the last case ended; absent when the run was cut short.
    #[schemars(with = "Option<String>")]
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
            checks: Vec::new(),
            partings: Vec::new(),
            quantisation_costs: Vec::new(),
            streams: Vec::new(),
            products: Vec::new(),
            warmups: Vec::new(),
            samples: Vec::new(),
            failures: Vec::new(),
            stopped: Vec::new(),
            resumed: Vec::new(),
            conditions_after: None,
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
            Record::Check(check) => {
                let same =
                    |known: &TestCheck| (&known.target, known.test) == (&check.target, check.test);
                self.checks.retain(|known| !same(known));
                self.checks.push(check);
            }
            Record::Parting(parting) => {
                let same = |known: &Parting| {
                    (&known.target, known.test) == (&parting.target, parting.test)
                };
                self.partings.retain(|known| !same(known));
                self.partings.push(parting);
            }
            Record::QuantisationCost(cost) => {
                self.quantisation_costs
                    .retain(|known| known.weights != cost.weights);
                self.quantisation_costs.push(cost);
            }
            Record::Streams { probes } => self.streams.extend(probes),
            Record::Products { probes } => self.products.extend(probes),
            Record::Warmup(warmup) => self.warmups.push(warmup),
            Record::Sample(sample) => self.samples.push(*sample),
            Record::Meter(meter) => self.replace_meter(meter),
            Record::Failure(failure) => self.failures.push(failure),
            Record::Stopped(stopped) => {
                self.stopped.retain(|known| known.test != stopped.test);
                self.stopped.push(stopped);
            }
            Record::Resumed { at } => {
                self.failures.retain(|failure| failure.retried);
                self.finished = None;
                self.resumed.push(at);
            }
            Record::Finished { at, conditions } => {
                self.finished = Some(at);
                self.conditions_after = Some(conditions);
            }
        }
    }

    /// Whether a target did the reference's work, where that was looked at.
    pub fn equivalence_of(&self, target: &TargetId) -> Option<&Equivalence> {
        self.equivalences
            .iter()
            .find(|equivalence| equivalence.target == *target)
    }

    /// Whether a target's conversation or training did the reference's work, where that was looked at.
    pub fn check_of(&self, target: &TargetId, test: &Test) -> Option<&TestCheck> {
        self.checks
            .iter()
            .find(|known| known.target == *target && known.test == *test)
    }

    /// Whether a target did the reference's work in a test, where that was looked at. A model that generates something
    /// different does so in a conversation, too, and trains as what it is.
    pub fn verdict_of(&self, target: &TargetId, test: &Test) -> Option<Verdict> {
        let generation = self.equivalence_of(target).map(|known| known.verdict);
        match test {
            Test::Generate(_) | Test::Serve(_) => generation,
            Test::Chat(_) | Test::Lora(_) if generation == Some(Verdict::Different) => generation,
            Test::Chat(_) | Test::Lora(_) => self.check_of(target, test).map(|known| known.verdict),
        }
    }

    /// What quantising as a target's weights are costs, where that was looked at.
    pub fn quantisation_cost_of(&self, target: &TargetId) -> Option<&QuantisationCost> {
        let weights = target.placement.precision.weights();
        let mut costs = self.quantisation_costs.iter();
        costs.find(|cost| cost.weights == weights)
    }

    /// How the numbers of a target's model are kept: as its worker says, else as its precision does. `None`
    /// where neither is known.
    pub fn storage_of(&self, target: &TargetId) -> Option<Storage> {
        let facts = self.targets.iter().find(|facts| facts.id == *target);
        let stated = facts.and_then(|facts| facts.storage.clone());
        let counted = self.run.model.config.as_ref();
        stated.or_else(|| Some(counted?.storage(target.placement.precision)))
    }

    /// Where tokens of a target's test part from the reference's, where the reference was asked.
    pub fn parting_of(&self, target: &TargetId, test: &Test) -> Option<&Parting> {
        self.partings
            .iter()
            .find(|parting| parting.target == *target && parting.test == *test)
    }

    /// What a target failed at.
    pub fn failures_of(&self, target: &TargetId) -> impl Iterator<Item = &Failure> {
        self.failures
            .iter()
            .filter(move |failure| failure.target == *target)
    }
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Run(Box<Run>),
    /// A worker has loaded the model.
    Target(TargetFacts),
    /// A target was compared with the reference.
    Equivalence(Equivalence),
    /// A target's conversation or training was compared with the reference's.
    Check(TestCheck),
    /// The tokens of a target's timed test part from the reference's.
    Parting(Parting),
    /// A way of quantising was compared with full precision.
    QuantisationCost(QuantisationCost),
    /// Memory was read and written.
    Streams {
        /// One a kernel.
        probes: Vec<StreamProbe>,
    },
    /// A target's products were timed.
    Products {
        /// One a shape: all of the target, so that a run which is gone on with has all or none.
        probes: Vec<ProductProbe>,
    },
    /// A process was warmed up.
    Warmup(Warmup),
    /// A repetition was measured.
    Sample(Box<Sample>),
    /// A meter turned out to be something else than the run's first line says.
    Meter(PowerMeter),
    /// A case could not be measured.
    Failure(Failure),
    /// A test isn't repeated any more.
    Stopped(Stopped),
    /// A run that was cut short goes on: what had failed is tried again.
    Resumed {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// The last line of a run that came to its end.
    Finished {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// What state the machine was in then.
        conditions: Conditions,
    },
}

/// What was asked, and where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The config's name.
    pub name: String,
    /// What the config says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When the run started.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// The harness.
    pub mlxbench: Harness,
    /// The machine.
    pub machine: Machine,
    /// What state it was in.
    #[serde(default)]
    pub conditions: Conditions,
    /// Where energy figures come from.
    #[serde(default)]
    pub power: Vec<PowerMeter>,
    /// The model.
    pub model: ModelFacts,
    /// How it was measured.
    pub settings: Settings,
    /// The tests, in the order of the config.
    pub tests: Vec<Test>,
    /// SHA-256 of the token ids of all tests, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts_sha256: Option<String>,
    /// The targets, in the order of the config.
    pub targets: Vec<TargetId>,
    /// The two workers that the run compares, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<Sides>,
    /// The config as TOML, with the options that change it: `mlxbench run` takes it to measure this again. More
    /// repetitions for `--baseline` and `--ab` aren't in it.
    /// Paths in it are relative to the folder of the config that was run; absent in older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// The commands of the workers of each [`Side`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sides {
    /// What is compared with.
    pub a: String,
    /// What is compared.
    pub b: String,
    /// Until when they are measured; absent in older results, whose rounds were counted beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
}

/// Rounds of a [`Sequence`] whose order one coin decides: there and back.
pub const ROUNDS_OF_BLOCK: usize = 2;

/// How two sides are measured until they are decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sequence {
    /// Draws the order of each block of [`ROUNDS_OF_BLOCK`] rounds; drawn itself when the run started.
    pub order_seed: u64,
    /// Changes of at most this share are none.
    pub threshold: f64,
    /// The same for memory.
    pub memory_threshold: f64,
    /// The figures that are to be decided, by their names on the command line.
    pub metrics: Vec<String>,
    /// The probability that any claim of one kind (slower, faster, not slower, not faster) is wrong, whenever
    /// the run stops.
    pub level: f64,
    /// Seconds after which no further block is begun.
    pub max_seconds: f64,
}

impl Sides {
    /// The command of one side.
    pub fn command(&self, side: Side) -> &str {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

/// Which build of mlxbench measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Harness {
    /// Its version.
    pub version: String,
    /// Its git commit, where it was built from a checkout.
    pub commit: Option<String>,
    /// `release` or `debug`. Figures of a debug build mean little.
    pub profile: String,
    /// The compiler: `rustc 1.95.0 (...)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<String>,
    /// What it compiled for: `x86_64-unknown-linux-gnu`, with `target-cpu` and other flags of the
    /// user's where there were some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler_flags: Option<String>,
}

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Its shapes, from which bytes and operations are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<GemmaConfig>,
    /// What a reader should know before believing that this is the model that was meant, such as
    /// an output head that config.json doesn't tell of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Measured repetitions a case, at least.
    pub repetitions: usize,
    /// Worker processes a target that they are spread over. Where absent, as in older results and with `--ab`, one
    /// where workers are kept loaded together and one a repetition where they aren't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<usize>,
    /// Repetitions at most, while the intervals are wider than `interval_percent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_repetitions: Option<usize>,
    /// The half-width of every rate's interval that ends a test, in per cent of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_percent: Option<f64>,
    /// Measured seconds of a test after which it isn't repeated any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// Rest before each repetition, in seconds.
    #[serde(default)]
    pub delay_seconds: f64,
    /// How often a repetition that was throttled is measured again, at most.
    #[serde(default)]
    pub throttle_retries: usize,
    /// Rest before that, in seconds.
    #[serde(default)]
    pub throttle_pause_seconds: f64,
    /// Unmeasured repetitions before them, at least.
    pub warmup: usize,
    /// Unmeasured repetitions at most, while they aren't steady.
    #[serde(default)]
    pub max_warmup: usize,
    /// The most tokens appended at once.
    pub chunk: usize,
    /// CPU threads asked for.
    pub threads: usize,
    /// Seed of random prompts and of the targets' order.
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

impl Settings {
    /// Worker processes a target that the repetitions are spread over; each has one at least.
    pub fn processes(&self) -> usize {
        let implied = match self.residency {
            Residency::Together => 1,
            Residency::OneAtATime => self.repetitions,
        };
        let processes = self.processes.unwrap_or(implied);
        processes.clamp(1, self.repetitions.max(1))
    }
}

/// Which workers hold their model in memory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Residency {
    /// All, so that repetitions interleave without loading again.
    Together,
    /// One: a target's worker is started for its turn, and ended by the next target's.
    OneAtATime,
}
