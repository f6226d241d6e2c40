//! Tests: workloads with their sizes. Whoever shows, compares or keeps one asks it for its name, its sizes
//! and its figures; what kind it is matters to the runner alone.

mod chat;
mod label;
mod lora;
mod serve;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Metric;
use crate::generate::Mode;
use crate::limits::{IDS, TOKENS, at_most};
use crate::{Dtype, GemmaConfig};

pub use lora::LoraTest;
pub use serve::ServeTest;

pub use chat::ChatTest;
pub use label::Label;

/// A workload: what a target is given to do, and timed at.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Test {
    /// Generating from a prompt.
    Generate(GenerateTest),
    /// A conversation with one KV cache.
    Chat(ChatTest),
    /// Training low-rank adapters.
    Lora(LoraTest),
    /// Asking a server.
    Serve(ServeTest),
}

/// A generation: a context in the cache, a prompt, tokens to generate.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct GenerateTest {
    /// Tokens handed over when the clock starts; 0 measures decode alone.
    pub prompt_tokens: usize,
    /// Tokens generated; 0 measures prefill alone.
    pub generate_tokens: usize,
    /// Tokens in the cache before the clock starts.
    pub depth: usize,
    /// Rows.
    pub batch: usize,
    /// When the host waits for a token.
    pub mode: Mode,
}

impl GenerateTest {
    fn yields(&self, metric: Metric) -> bool {
        match metric {
            Metric::Prefill => self.prompt_tokens > 0,
            Metric::Decode | Metric::Tpot | Metric::InterToken => self.generate_tokens > 1,
            // The energy of filling a context can't be told apart.
            Metric::EnergyPerToken => {
                self.depth == 0 && self.prompt_tokens + self.generate_tokens > 0
            }
            Metric::Ttft
            | Metric::EndToEnd
            | Metric::Load
            | Metric::PeakMemory
            | Metric::DevicePeak
            | Metric::Power => true,
            Metric::WarmTtft
            | Metric::ColdTtft
            | Metric::Overall
            | Metric::Training
            | Metric::TrainingStep
            | Metric::Throughput
            | Metric::Goodput => false,
        }
    }
}

impl Test {
    /// The generation that it is, where it is one.
    pub fn as_generate(&self) -> Option<&GenerateTest> {
        match self {
            Self::Generate(test) => Some(test),
            Self::Chat(_) | Self::Lora(_) | Self::Serve(_) => None,
        }
    }

    /// The conversation that it is, where it is one.
    pub fn as_chat(&self) -> Option<&ChatTest> {
        match self {
            Self::Chat(test) => Some(test),
            Self::Generate(_) | Self::Lora(_) | Self::Serve(_) => None,
        }
    }

    /// The training that it is, where it is one.
    pub fn as_lora(&self) -> Option<&LoraTest> {
        match self {
            Self::Lora(test) => Some(test),
            Self::Generate(_) | Self::Chat(_) | Self::Serve(_) => None,
        }
    }

    /// The requests to a server that it is, where it is some.
    pub fn as_serve(&self) -> Option<&ServeTest> {
        match self {
            Self::Serve(test) => Some(test),
            Self::Generate(_) | Self::Chat(_) | Self::Lora(_) => None,
        }
    }

    /// Rows that are worked on at once.
    pub fn rows(&self) -> usize {
        match self {
            Self::Generate(test) => test.batch,
            Self::Chat(_) => 1,
            Self::Lora(test) => test.batch,
            Self::Serve(test) => test.concurrency,
        }
    }

    /// Tokens of a row in the cache before the clock starts.
    pub fn depth(&self) -> usize {
        match self {
            Self::Generate(test) => test.depth,
            Self::Chat(_) | Self::Lora(_) | Self::Serve(_) => 0,
        }
    }

    /// Tokens of a row's prompt that are measured. The workload hands over at least one all the same. Of a
    /// training all tokens of a row, of a conversation those of the last turn with all that comes before.
    pub fn prompt_tokens(&self) -> usize {
        match self {
            Self::Generate(test) => test.prompt_tokens,
            Self::Chat(test) => test.prompt_tokens,
            Self::Lora(test) => test.tokens,
            Self::Serve(test) => test.prompt_tokens,
        }
    }

    /// Tokens generated a row that are measured. The workload generates at least one all the same, unless it is a
    /// training.
    pub fn generate_tokens(&self) -> usize {
        match self {
            Self::Generate(test) => test.generate_tokens,
            Self::Chat(test) => test.generate_tokens,
            Self::Lora(_) => 0,
            Self::Serve(test) => test.generate_tokens,
        }
    }

    /// When the host waits for a token. The loss of each step is read before the next one is handed over.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Generate(test) => test.mode,
            Self::Chat(test) => test.mode,
            Self::Lora(_) => Mode::Synchronous,
            // The server's own business: what it has done is read by its client.
            Self::Serve(_) => Mode::Pipelined,
        }
    }

    /// Times over that rows of ids are handed over: the steps of a training, each with rows of its own.
    pub fn batches(&self) -> usize {
        match self {
            Self::Generate(_) | Self::Chat(_) => 1,
            Self::Lora(test) => test.steps,
            // Rows of all requests, which are concurrency at a time.
            Self::Serve(test) => test.requests.div_ceil(test.concurrency.max(1)),
        }
    }

    /// Tokens of a row in the cache when its first decode step starts.
    pub fn context(&self) -> usize {
        self.depth() + self.prompt_tokens().max(1)
    }

    /// Decode steps that are measured: one fewer than tokens, since the first token ends the prefill.
    pub fn steps(&self) -> usize {
        self.generate_tokens().saturating_sub(1)
    }

    /// Tokens of a row in the cache in the end.
    pub fn capacity(&self) -> usize {
        self.context() + self.steps()
    }

    /// Token ids of a row: depth, prompt and generation.
    pub fn row_tokens(&self) -> usize {
        let given = self.depth().saturating_add(self.prompt_tokens());
        given.saturating_add(self.generate_tokens())
    }

    /// Token ids over all rows, of each at least one.
    pub fn ids(&self) -> usize {
        let rows = self.rows().saturating_mul(self.batches());
        self.row_tokens().max(1).saturating_mul(rows)
    }

    /// Bytes that it takes beside the weights at least: keys and values of the whole test in `kv_cache`; of a training
    /// what belongs to each number that is trained, itself, its gradient and two moments, in f32.
    pub fn state_bytes(&self, config: &GemmaConfig, kv_cache: Dtype) -> u64 {
        match self {
            Self::Generate(_) | Self::Chat(_) => {
                config.kv_cache_bytes(kv_cache, self.rows(), self.capacity())
            }
            Self::Lora(test) => test.lora(0).parameters(config) * 16,
            Self::Serve(_) => 0,
        }
    }

    /// Tokens over all rows that the clock sees: prompt and generation; of a training those of all steps.
    pub fn timed_tokens(&self) -> usize {
        self.batches() * self.rows() * (self.prompt_tokens() + self.generate_tokens())
    }

    /// Whether `metric` is a figure of this workload.
    pub fn yields(&self, metric: Metric) -> bool {
        match self {
            Self::Generate(test) => test.yields(metric),
            Self::Chat(test) => test.yields(metric),
            Self::Lora(test) => test.yields(metric),
            Self::Serve(test) => test.yields(metric),
        }
    }

    /// The figures that it is run for: those that repetitions go on for where an interval is asked for.
    pub fn leading(&self) -> impl Iterator<Item = Metric> {
        let kind: &[Metric] = match self {
            Self::Generate(_) => &[Metric::Prefill, Metric::Decode],
            Self::Chat(_) => &[Metric::Overall, Metric::WarmTtft, Metric::Decode],
            Self::Lora(_) => &[Metric::Training],
            Self::Serve(_) => &[Metric::Throughput],
        };
        let test = *self;
        let kind = kind.iter().copied();
        kind.filter(move |metric| test.yields(*metric))
    }

    /// What its name says beside its tokens: `b4` for batch, `c4` for clients of a server, `sync` where each token is
    /// read before the next step, all with a blank before them.
    pub fn conditions(&self) -> String {
        let batch = match (self, self.rows()) {
            (Self::Serve(_), clients) => format!(" c{clients}"),
            (_, rows @ 2..) => format!(" b{rows}"),
            _ => String::new(),
        };
        let mode = match (self, self.mode()) {
            (Self::Lora(_), _) | (_, Mode::Pipelined) => "",
            (_, Mode::Synchronous) => " sync",
        };
        batch + mode
    }

    /// Refuses sizes that can't be.
    ///
    /// # Errors
    /// Which size of what it is.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Generate(_) => {}
            Self::Chat(test) => test.check()?,
            Self::Lora(test) => test.check()?,
            Self::Serve(test) => test.check()?,
        }
        at_most("prompt_tokens", self.prompt_tokens(), TOKENS)?;
        at_most("generate_tokens", self.generate_tokens(), TOKENS)?;
        at_most("depth", self.depth(), TOKENS)?;
        at_most("batch x tokens of a test", self.ids(), IDS)
    }
}

impl From<ServeTest> for Test {
    fn from(test: ServeTest) -> Self {
        Self::Serve(test)
    }
}

impl From<ChatTest> for Test {
    fn from(test: ChatTest) -> Self {
        Self::Chat(test)
    }
}

impl From<LoraTest> for Test {
    fn from(test: LoraTest) -> Self {
        Self::Lora(test)
    }
}

impl From<GenerateTest> for Test {
    fn from(test: GenerateTest) -> Self {
        Self::Generate(test)
    }
}

/// llama-bench's names: `pp512`, `tg128`, `pp512+tg128`, ` @ d4096` for depth; `lora512 r8 l16` for a training; `serve pp512+tg128` for requests
/// to a server; then
/// [`Test::conditions`].
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generate(test) => match (test.prompt_tokens, test.generate_tokens) {
                (prompt, 0) => write!(f, "pp{prompt}")?,
                (0, generate) => write!(f, "tg{generate}")?,
                (prompt, generate) => write!(f, "pp{prompt}+tg{generate}")?,
            },
            Self::Chat(test) => test.fmt(f)?,
            Self::Lora(test) => f.write_str(&test.name())?,
            Self::Serve(test) => f.write_str(&test.name())?,
        }
        if self.depth() > 0 {
            write!(f, " @ d{}", self.depth())?;
        }
        f.write_str(&self.conditions())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: GenerateTest = GenerateTest {
        prompt_tokens: 512,
        generate_tokens: 128,
        depth: 4096,
        batch: 4,
        mode: Mode::Synchronous,
    };

    const PLAIN: GenerateTest = GenerateTest {
        depth: 0,
        batch: 1,
        mode: Mode::Pipelined,
        ..ALL
    };

    const PREFILL: GenerateTest = GenerateTest {
        generate_tokens: 0,
        ..PLAIN
    };

    const DECODE: GenerateTest = GenerateTest {
        prompt_tokens: 0,
        ..PLAIN
    };

    #[test]
    fn tests_carry_the_names_of_llama_bench() {
        for (test, name) in [
            (ALL, "pp512+tg128 @ d4096 b4 sync"),
            (PLAIN, "pp512+tg128"),
            (PREFILL, "pp512"),
            (DECODE, "tg128"),
        ] {
            assert_eq!(Test::from(test).to_string(), name);
        }
    }

    #[test]
    fn a_test_tells_its_kind_beside_its_sizes() {
        let json = serde_json::json!({"kind": "generate", "prompt_tokens": 512, "generate_tokens": 128,
            "depth": 4096, "batch": 4, "mode": "synchronous"});
        assert_eq!(serde_json::to_value(Test::from(ALL)).unwrap(), json);
        assert_eq!(
            serde_json::from_value::<Test>(json).unwrap(),
            Test::from(ALL)
        );
        let other = serde_json::json!({"kind": "dream", "prompt_tokens": 512});
        let message = serde_json::from_value::<Test>(other)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("`dream`, expected one of `generate`, `chat`, `lora`, `serve`"),
            "{message}"
        );
    }

    #[test]
    fn a_training_has_the_figures_of_its_steps_alone() {
        let training = LoraTest {
            rank: 8,
            layers: 16,
            modules: crate::lora::LoraModules::All,
            batch: 4,
            tokens: 512,
            steps: 3,
            gradient_checkpointing: false,
        };
        let test = Test::from(training);
        assert_eq!(test.to_string(), "lora512 r8 l16 all b4");
        assert_eq!((test.ids(), test.timed_tokens()), (6144, 6144));
        for (metric, yields) in [
            (Metric::Training, true),
            (Metric::TrainingStep, true),
            (Metric::EndToEnd, true),
            (Metric::EnergyPerToken, true),
            (Metric::Prefill, false),
            (Metric::Decode, false),
            (Metric::Ttft, false),
            (Metric::InterToken, false),
        ] {
            assert_eq!(test.yields(metric), yields, "{metric:?}");
        }
        assert!(!Test::from(ALL).yields(Metric::Training));
        let single = LoraTest {
            steps: 1,
            ..training
        };
        assert!(!Test::from(single).yields(Metric::Training));
    }

    /// A result of before there was the option says nothing of it.
    #[test]
    fn gradient_checkpointing_makes_another_test_and_is_off_where_nobody_says() {
        let json = serde_json::json!({"kind": "lora", "rank": 8, "layers": 16, "modules": "q_v", "batch": 4,
            "tokens": 512, "steps": 3});
        let plain: Test = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(plain).unwrap(), json);
        let checkpointed = Test::from(LoraTest {
            gradient_checkpointing: true,
            ..*plain.as_lora().unwrap()
        });
        assert_ne!(checkpointed, plain);
        assert_eq!(checkpointed.to_string(), "lora512 r8 l16 +checkpoint b4");
    }

    #[test]
    fn the_cache_holds_all_but_the_last_token() {
        let sizes = |test: GenerateTest| {
            let test = Test::from(test);
            (test.context(), test.steps(), test.capacity())
        };
        assert_eq!(sizes(ALL), (4608, 127, 4735));
        assert_eq!(sizes(PREFILL), (512, 0, 512));
        // It starts from one token, which isn't measured.
        assert_eq!(sizes(DECODE), (1, 127, 128));
    }

    #[test]
    fn a_test_has_the_figures_that_its_sizes_give() {
        let yields = |test: GenerateTest, metric| Test::from(test).yields(metric);
        assert!(yields(PREFILL, Metric::Prefill) && !yields(PREFILL, Metric::Decode));
        assert!(!yields(DECODE, Metric::Prefill) && yields(DECODE, Metric::Decode));
        let single = GenerateTest {
            generate_tokens: 1,
            ..PLAIN
        };
        assert!(yields(single, Metric::Ttft) && !yields(single, Metric::InterToken));
        assert!(yields(PLAIN, Metric::EnergyPerToken) && !yields(ALL, Metric::EnergyPerToken));
    }
}
