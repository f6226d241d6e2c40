//! What was measured: repetitions, warm-ups, and why there were no more of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeviceConditions, EnergyUnavailable, ServedRequest, TargetId, Test, Timeline};
use crate::converse::Turn;
use crate::generate::Mode;
use crate::{Nanos, TokenId};

/// One measured repetition of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Which repetition, counted from 0.
    pub repetition: usize,
    /// Which measurement of the repetition, counted from 0: there are more where one was throttled.
    /// The last one counts.
    #[serde(default, skip_serializing_if = "is_first")]
    pub attempt: usize,
    /// Which of the target's worker processes ran it, an index into the `load_ns` of its
    /// [`TargetFacts`](super::TargetFacts); absent in older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<usize>,
    /// When the runner sent the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// From the request to the worker's reply, by the runner's clock: the filling of the context
    /// and the check of the logits are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ns: Option<Nanos>,
    /// When each token was readable on the host, from the handing over of the prompt; of a training when the loss
    /// of each step was, from the start of the first.
    pub token_ns: Vec<Nanos>,
    /// The tokens of each row; none of a training.
    pub tokens: Vec<Vec<TokenId>>,
    /// Whether the last logits were finite; of a training the losses.
    pub finite: bool,
    /// The loss of each step of a training, in nats a token; `null` where it isn't finite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Option<f32>>,
    /// The requests to a server, in the order in which they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<ServedRequest>,
    /// Whether steps were handed over ahead of the reads, or each token was read first; absent in
    /// older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Mode>,
    /// The turns of a conversation, whose times and tokens are here rather than in `token_ns` and `tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<Turns>,
    /// Peak memory of the worker process, by the operating system's account.
    pub peak_memory_bytes: Option<u64>,
    /// Since when that peak counts.
    #[serde(default)]
    pub peak_memory_since: PeakSince,
    /// Peak of the framework's own device memory in this repetition.
    pub device_peak_bytes: Option<u64>,
    /// The worker's memory while it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// Energy that the meter counted from request to reply, in joules; what the machine draws
    /// when idle is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// Why there is none, where the device has a meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_unavailable: Option<EnergyUnavailable>,
    /// The state of the device meanwhile, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<DeviceConditions>,
    /// Whether the device was throttled, for a reason that [marks](super::ThrottleReason::marks) or with a clock
    /// far below that of the other repetitions. It doesn't count, then, unless all were.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub throttled: bool,
}

/// What the turns of a conversation took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Turns {
    /// One a turn.
    pub turns: Vec<Turn>,
    /// Time to first token of the last prompt, read into an empty cache after all turns.
    pub cold_ttft_ns: Nanos,
}

fn is_first(attempt: &usize) -> bool {
    *attempt == 0
}

/// Since when a peak of memory counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeakSince {
    /// The start of the worker process: loading and earlier tests are in it.
    #[default]
    Process,
    /// The start of the repetition.
    Repetition,
}

/// The repetitions of a case that weren't measured, in one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warmup {
    /// Which target.
    pub target: TargetId,
    /// Which test.
    pub test: Test,
    /// Which of the target's worker processes, as in a [`Sample`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<usize>,
    /// The end-to-end time of each.
    pub end_to_end_ns: Vec<Nanos>,
    /// Whether the last two were alike.
    pub steady: bool,
}

/// Why a test wasn't repeated any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stopped {
    /// Which test.
    pub test: Test,
    /// Repetitions a target.
    pub repetitions: usize,
    /// Why.
    pub reason: StopReason,
}

/// A rule that ends a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// As many as the config says, and no interval was asked for.
    Repetitions,
    /// Every interval is as narrow as the config asks for.
    Interval,
    /// `max_repetitions` was reached before the intervals were narrow enough.
    MaxRepetitions,
    /// `max_seconds` was reached.
    MaxSeconds,
    /// Every row of two sides is decided.
    Decided,
    /// The most minutes of a run of two sides were over before that.
    MaxMinutes,
}

impl StopReason {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repetitions => "repetitions",
            Self::Interval => "interval",
            Self::MaxRepetitions => "max_repetitions",
            Self::MaxSeconds => "max_seconds",
            Self::Decided => "decided",
            Self::MaxMinutes => "max_minutes",
        }
    }
}
