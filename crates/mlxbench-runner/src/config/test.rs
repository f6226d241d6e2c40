//! `[[test]]`: what targets are given to do, with lists in place of values.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use mlxbench_core::generate::Mode;
use mlxbench_core::lora::LoraModules;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Sweep, is_default};

/// What a `[[test]]` gives its targets to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// Generating from a prompt.
    #[default]
    Generate,
    /// A conversation with one KV cache.
    Chat,
    /// Training low-rank adapters.
    Lora,
    /// Asking a server.
    Serve,
}

impl TestKind {
    /// Its name in configs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Chat => "chat",
            Self::Lora => "lora",
            Self::Serve => "serve",
        }
    }
}

/// `[[test]]`; a list in place of a value makes one test of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestConfig {
    /// What is to be done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: TestKind,
    /// Tokens handed over when the clock starts; 0 measures decode alone. Of `lora` tokens a row.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub prompt_tokens: Sweep<usize>,
    /// Tokens to generate; 0 measures prefill alone.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub generate_tokens: Sweep<usize>,
    /// Tokens in the cache before the clock starts.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub depth: Sweep<usize>,
    /// Rows.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub batch: Sweep<NonZeroUsize>,
    /// When the host waits for a token; `[measure]`'s when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Sweep<Mode>>,
    /// Of `chat`: a JSONL file with a message a line, relative to the config; made of ids by sizes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Sweep<PathBuf>>,
    /// Of `chat`: questions of a conversation that is made; 4 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<Sweep<NonZeroUsize>>,
    /// Of `chat`: tokens before the first question, the begin token with them; 256 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_tokens: Option<Sweep<usize>>,
    /// Of `chat`: tokens of a question; 64 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_tokens: Option<Sweep<NonZeroUsize>>,
    /// Of `chat`: tokens of a reply that stands in the conversation; 128 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_tokens: Option<Sweep<usize>>,
    /// Of `lora`: rank of the adapters; 8 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Sweep<NonZeroUsize>>,
    /// Of `lora`: the last so many layers have adapters; 16 when absent, as in mlx-lm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Sweep<NonZeroUsize>>,
    /// Of `lora`: which projections have one, `q_v` or `all`; `q_v` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<Sweep<LoraModules>>,
    /// Of `lora`: whether a layer's intermediate values are computed again in the backward pass instead of being kept
    /// for it; false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_checkpointing: Option<Sweep<bool>>,
    /// Of `lora`: steps of a repetition, each on ids of its own; 4 when absent. The first one isn't in the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<NonZeroUsize>,
    /// Of `serve`: requests at a time; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Sweep<NonZeroUsize>>,
    /// Of `serve`: requests of a repetition; when absent 4 for each one at a time, and 8 at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroUsize>,
    /// Of `serve`: the longest time to first token of a request that counts for goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_slo_ms: Option<f64>,
    /// Of `serve`: the longest time per output token of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot_slo_ms: Option<f64>,
}

fn is_zero(value: &Sweep<usize>) -> bool {
    *value == zero()
}

fn is_one(value: &Sweep<NonZeroUsize>) -> bool {
    *value == one()
}

pub(super) fn zero() -> Sweep<usize> {
    Sweep::one(0)
}

pub(super) fn one() -> Sweep<NonZeroUsize> {
    Sweep::one(NonZeroUsize::MIN)
}
