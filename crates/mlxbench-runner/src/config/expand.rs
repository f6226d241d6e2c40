//! From a `[[test]]` with lists to tests, a kind after another.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use mlxbench_core::Nanos;
use mlxbench_core::generate::Mode;
use mlxbench_core::lora::Lora;
use mlxbench_core::results::{ChatTest, GenerateTest, Label, LoraTest, ServeTest, Test};

use super::{Sweep, TestConfig, TestKind};

/// Sizes of a conversation where nobody says.
const TURNS: usize = 4;
const SYSTEM: usize = 256;
const USER: usize = 64;
const REPLY: usize = 128;

/// What a conversation's file is called in tables: its name without folder and extension.
pub(crate) fn label(file: &Path) -> Result<Label, String> {
    let stem = file.file_stem().unwrap_or_default();
    let label = stem.to_string_lossy().parse();
    label.map_err(|error| format!("conversation = {file:?}: {error}, in the name of the file"))
}

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
            TestKind::Chat => self.conversations(mode),
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

    /// Conversations by their sizes; of those from files the sizes aren't known before a model has its tokens.
    fn conversations(&self, mode: Mode) -> Vec<Test> {
        let modes = self.mode.clone().unwrap_or(Sweep::one(mode));
        let of_file = |file: &PathBuf| ChatTest {
            conversation: label(file).ok(),
            ..ChatTest::UNKNOWN
        };
        let parts = match &self.conversation {
            Some(files) => files.values().iter().map(of_file).collect(),
            None => self.made(),
        };
        let mut tests = Vec::new();
        for &mode in modes.values() {
            for part in &parts {
                for &generate_tokens in self.generate_tokens.values() {
                    tests.push(Test::Chat(ChatTest {
                        generate_tokens,
                        mode,
                        ..*part
                    }));
                }
            }
        }
        tests
    }

    fn made(&self) -> Vec<ChatTest> {
        fn values<T: Copy>(
            given: &Option<Sweep<T>>,
            size: fn(T) -> usize,
            default: usize,
        ) -> Vec<usize> {
            match given {
                Some(given) => given.values().iter().copied().map(size).collect(),
                None => vec![default],
            }
        }
        let mut tests = Vec::new();
        for turns in values(&self.turns, NonZeroUsize::get, TURNS) {
            for system_tokens in values(&self.system_tokens, |size| size, SYSTEM) {
                for user_tokens in values(&self.user_tokens, NonZeroUsize::get, USER) {
                    for reply_tokens in values(&self.reply_tokens, |size| size, REPLY) {
                        let sizes = ChatTest {
                            turns,
                            system_tokens,
                            user_tokens,
                            reply_tokens,
                            ..ChatTest::UNKNOWN
                        };
                        tests.push(ChatTest {
                            prompt_tokens: sizes.made_prompt_tokens(),
                            ..sizes
                        });
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
        let checkpointing = self.gradient_checkpointing.clone();
        let checkpointing = checkpointing.unwrap_or(Sweep::one(false));
        let mut tests = Vec::new();
        for &modules in modules.values() {
            for rank in counts(&self.rank, rank) {
                for layers in counts(&self.layers, layers) {
                    for &batch in self.batch.values() {
                        for &tokens in self.prompt_tokens.values() {
                            for &gradient_checkpointing in checkpointing.values() {
                                tests.push(Test::Lora(LoraTest {
                                    rank,
                                    layers,
                                    modules,
                                    batch: batch.get(),
                                    tokens,
                                    steps: self.steps(),
                                    gradient_checkpointing,
                                }));
                            }
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
