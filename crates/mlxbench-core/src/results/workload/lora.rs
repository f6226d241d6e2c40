//! Training low-rank adapters: steps of an optimiser over rows of ids.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{WIDTH, at_most};
use crate::lora::{Lora, LoraModules};
use crate::results::Metric;

/// A run of LoRA steps on fresh adapters ([`crate::lora`]).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct LoraTest {
    /// Rank of the adapters.
    pub rank: usize,
    /// The last so many layers have adapters.
    pub layers: usize,
    /// Which projections have one.
    pub modules: LoraModules,
    /// Rows of a step.
    pub batch: usize,
    /// Tokens a row.
    pub tokens: usize,
    /// Steps of a repetition. The first one isn't in the rate: frameworks compile and make room in it.
    pub steps: usize,
    /// Whether a layer's intermediate values are computed again in the backward pass instead of being kept for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
}

impl LoraTest {
    /// What is trained and how, with initial values of `seed`; what a test doesn't say is
    /// [`Lora::default`]'s.
    pub fn lora(&self, seed: u64) -> Lora {
        Lora {
            rank: self.rank,
            layers: self.layers,
            modules: self.modules,
            seed,
            gradient_checkpointing: self.gradient_checkpointing,
            ..Lora::default()
        }
    }

    pub(super) fn yields(&self, metric: Metric) -> bool {
        match metric {
            Metric::Training | Metric::TrainingStep => self.steps > 1,
            Metric::EndToEnd
            | Metric::Load
            | Metric::PeakMemory
            | Metric::DevicePeak
            | Metric::Power
            | Metric::EnergyPerToken => true,
            Metric::Prefill
            | Metric::Decode
            | Metric::Ttft
            | Metric::Tpot
            | Metric::InterToken
            | Metric::WarmTtft
            | Metric::ColdTtft
            | Metric::Overall
            | Metric::Throughput
            | Metric::Goodput => false,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        at_most("rank", self.rank, WIDTH)
    }

    /// Its name without its rows: `lora512 r8 l16`, then `all` where all projections have an adapter, and
    /// `+checkpoint` with gradient checkpointing.
    pub(super) fn name(&self) -> String {
        let modules = match self.modules {
            LoraModules::QueryValue => "",
            LoraModules::All => " all",
        };
        let checkpointing = match self.gradient_checkpointing {
            true => " +checkpoint",
            false => "",
        };
        let Self {
            tokens,
            rank,
            layers,
            ..
        } = self;
        format!("lora{tokens} r{rank} l{layers}{modules}{checkpointing}")
    }
}
