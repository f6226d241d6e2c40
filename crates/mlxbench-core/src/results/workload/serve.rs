//! Asking a server: requests of several clients at once, measured from their side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Nanos;
use crate::limits::{IDS, THREADS, TIME, TOKENS, at_most};

/// Requests to a server, so many at a time: each client sends its next one when the last has ended (closed loop).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct ServeTest {
    /// Tokens that each prompt should have by the server's count; what it had stands beside each request.
    pub prompt_tokens: usize,
    /// Tokens that each request asks for at most.
    pub generate_tokens: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// Requests of a repetition.
    pub requests: usize,
    /// The longest time to first token of a request that counts for goodput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_slo_ns: Option<Nanos>,
    /// The longest time per output token of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_slo_ns: Option<Nanos>,
}

impl ServeTest {
    /// Whether a request has to meet anything to count for goodput.
    pub fn has_goal(&self) -> bool {
        self.ttft_slo_ns.or(self.tpot_slo_ns).is_some()
    }

    /// Its name without its clients: `serve pp512+tg128`.
    pub(super) fn name(&self) -> String {
        format!("serve pp{}+tg{}", self.prompt_tokens, self.generate_tokens)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        at_most("prompt_tokens", self.prompt_tokens, TOKENS)?;
        at_most("generate_tokens", self.generate_tokens, TOKENS)?;
        at_most("concurrency", self.concurrency, THREADS)?;
        at_most("requests", self.requests, REQUESTS)?;
        let tokens = self.prompt_tokens.saturating_add(self.generate_tokens);
        at_most(
            "requests x tokens of a test",
            tokens.saturating_mul(self.requests),
            IDS,
        )?;
        for (name, goal) in [
            ("ttft_slo_ns", self.ttft_slo_ns),
            ("tpot_slo_ns", self.tpot_slo_ns),
        ] {
            if goal.is_some_and(|goal| goal > Nanos::from(TIME)) {
                return Err(format!("{name} is beyond {} days", TIME.as_secs() / 86_400));
            }
        }
        Ok(())
    }
}

/// Requests of a repetition at most.
const REQUESTS: usize = 100_000;
