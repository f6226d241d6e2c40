//! From a `[[test]]` with lists to tests, a kind after another.

use mlxbench_core::generate::Mode;
use mlxbench_core::results::{GenerateTest, Test};

use super::{Sweep, TestConfig, TestKind};

impl TestConfig {
    /// One test of each combination of its values; `mode` where it doesn't say.
    pub(crate) fn expand(&self, mode: Mode) -> Vec<Test> {
        match self.kind {
            TestKind::Generate => self.generations(mode),
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
}
