//! From a `[[test]]` with lists to tests, a kind after another.

use std::num::NonZeroUsize;

use mlxbench_core::Nanos;
use mlxbench_core::generate::Mode;
use mlxbench_core::lora::Lora;
use mlxbench_core::results::{GenerateTest, LoraTest, ServeTest, Test};

use super::{Sweep, TestConfig, TestKind};

/// Steps of a training where nobody says.
const STEPS: usize = 4;
/// Requests a client where nobody says.
const A_CLIENT: usize = 4;
/// Requests at least, then.
const FEWEST: usize = 8;

impl TestConfig {
    /// One test of each combination of its values; `mode` where it doesn't say.
    pub(crate) fn expand(&self, mode: Mode) -> Vec<Test> {
        match self.kind {
            TestKind::Generate => self.generations(mode),
            TestKind::Lora => self.trainings(),
            TestKind::Serve => self.servings(),
        }
    }

    fn generations(&self, mode: Mode) -> Vec<Test> {
        let modes = self.mode.clone().unwrap_or(Sweep::one(mode));
        let mut tests = Vec::new();
        for &mode in modes.values() {
            for &batch in self.batch.values() {
                for &depth in self.depth.values() {
                    for &prompt_tokens in self.prompt_tokens.values() {
                        for &generate_tokens in self.generate_tokens.values() {
                            tests.push(Test::Generate(GenerateTest {
                                prompt_tokens,
                                generate_tokens,
                                depth,
                                batch: batch.get(),
                                mode,
                            }));
                        }
                    }
                }
            }
        }
        tests
    }

    fn trainings(&self) -> Vec<Test> {
        let Lora { rank, layers, .. } = Lora::default();
        let counts = |given: &Option<Sweep<NonZeroUsize>>, default: usize| match given {
            Some(given) => given.values().iter().map(|count| count.get()).collect(),
            None => vec![default],
        };
        let modules = self
            .modules
            .clone()
            .unwrap_or(Sweep::one(Default::default()));
        let mut tests = Vec::new();
        for &modules in modules.values() {
            for rank in counts(&self.rank, rank) {
                for layers in counts(&self.layers, layers) {
                    for &batch in self.batch.values() {
                        for &tokens in self.prompt_tokens.values() {
                            tests.push(Test::Lora(LoraTest {
                                rank,
                                layers,
                                modules,
                                batch: batch.get(),
                                tokens,
                                steps: self.steps(),
                            }));
                        }
                    }
                }
            }
        }
        tests
    }

    fn servings(&self) -> Vec<Test> {
        let concurrency = self.concurrency.clone();
        let concurrency = concurrency.unwrap_or(Sweep::one(NonZeroUsize::MIN));
        let goal = |ms: Option<f64>| ms.map(|ms| Nanos((ms * 1e6) as u64));
        let mut tests = Vec::new();
        for &prompt_tokens in self.prompt_tokens.values() {
            for &generate_tokens in self.generate_tokens.values() {
                for clients in concurrency.values().iter().map(|count| count.get()) {
                    let default = clients.saturating_mul(A_CLIENT).max(FEWEST);
                    tests.push(Test::Serve(ServeTest {
                        prompt_tokens,
                        generate_tokens,
                        concurrency: clients,
                        requests: self.requests.map_or(default, NonZeroUsize::get),
                        ttft_slo_ns: goal(self.ttft_slo_ms),
                        tpot_slo_ns: goal(self.tpot_slo_ms),
                    }));
                }
            }
        }
        tests
    }

    /// Steps of a training.
    pub(super) fn steps(&self) -> usize {
        self.steps.map_or(STEPS, NonZeroUsize::get)
    }
}
