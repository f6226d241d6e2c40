//! Asking a server: requests of several clients at once, measured from their side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Nanos;
use crate::limits::{IDS, THREADS, TIME, TOKENS, at_most};
use crate::results::Metric;

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

    /// Not what clients don't see: single tokens, the prompt's part in the first one's time, the load, the memory and
    /// the power of the server.
    pub(super) fn yields(&self, metric: Metric) -> bool {
        match metric {
            Metric::Throughput | Metric::Ttft | Metric::EndToEnd => true,
            Metric::Goodput => self.has_goal(),
            Metric::Decode | Metric::Tpot => self.generate_tokens > 1,
            Metric::Prefill
            | Metric::InterToken
            | Metric::WarmTtft
            | Metric::ColdTtft
            | Metric::Overall
            | Metric::Load
            | Metric::PeakMemory
            | Metric::DevicePeak
            | Metric::Power
            | Metric::EnergyPerToken
            | Metric::Training
            | Metric::TrainingStep => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Test;

    #[test]
    fn a_test_of_a_server_has_the_figures_that_clients_see() {
        let test = ServeTest {
            prompt_tokens: 512,
            generate_tokens: 128,
            concurrency: 1,
            requests: 8,
            ttft_slo_ns: None,
            tpot_slo_ns: None,
        };
        assert_eq!(Test::from(test).to_string(), "serve pp512+tg128 c1");
        let yields = |test: ServeTest, metric| Test::from(test).yields(metric);
        assert!(yields(test, Metric::Throughput) && !yields(test, Metric::Goodput));
        assert!(!yields(test, Metric::PeakMemory) && !yields(test, Metric::Prefill));
        let aimed = ServeTest {
            ttft_slo_ns: Some(Nanos(1)),
            ..test
        };
        assert!(yields(aimed, Metric::Goodput));
        let endless = ServeTest {
            requests: usize::MAX,
            ..test
        };
        assert!(Test::from(endless).check().is_err());
    }
}
