//! A backend without a framework: scripted timings on a virtual clock, scripted faults. The
//! runner's tests are exact and instant on it.

mod fault;
mod train;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::backend::{
    Backend, ContextShape, DeviceSupport, Identity, Model, PrecisionSupport, Product, Reads,
};
use crate::clock::{Clock, VirtualClock};
use crate::gemma::preset;
use crate::lora::{Lora, Trainer};
use crate::probe::ProductShape;
use crate::text::tell;
use crate::trial::{ElementType, Program, Tensor};
use crate::{
    Checkpoint, Device, Dtype, Error, GemmaConfig, Nanos, Placement, Precision, Result, TokenBatch,
    TokenId,
};

pub use fault::{Fault, TrialFault};
use fault::{FaultKind, TrialFaultKind};
pub use train::MockTrainer;

/// The variable that names the file of a device whose meter and sensors are scripted.
pub const TEST_DEVICE: &str = "MLXBENCH_TEST_DEVICE";

/// How long the mock takes, and how it fails. Times are of the virtual clock: nobody waits.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Script {
    /// Loading a model, in nanoseconds.
    #[arg(long, default_value_t = 0)]
    pub load_ns: u64,
    /// Prefill of one token, in nanoseconds.
    #[arg(long, default_value_t = 1_000_000)]
    pub prefill_ns_per_token: u64,
    /// One decode step on the device, in nanoseconds.
    #[arg(long, default_value_t = 10_000_000)]
    pub step_ns: u64,
    /// What it costs the host to hand over a step or a chunk, in nanoseconds: the device begins
    /// after that.
    #[arg(long, default_value_t = 0)]
    pub launch_ns: u64,
    /// Reading a token back, in nanoseconds.
    #[arg(long, default_value_t = 0)]
    pub read_ns: u64,
    /// Reading weights in a product, in bytes a second.
    #[arg(long, default_value_t = 100_000_000_000)]
    pub bytes_per_second: u64,
    /// Multiplying and adding in a product, in operations a second.
    #[arg(long, default_value_t = 1_000_000_000_000)]
    pub operations_per_second: u64,
    /// Each further generation takes this many per cent longer than the one before.
    #[arg(long, default_value_t = 0)]
    pub slowdown_percent: u64,
    /// All work takes this many per cent longer, to see a gate catch it.
    #[arg(long, env = "MLXBENCH_MOCK_SLOWER_PERCENT", default_value_t = 0)]
    pub slower_percent: u64,
    /// Work is queued and goes on while the host does something else, as on a GPU. A read waits for
    /// its own step only.
    #[arg(long)]
    pub asynchronous: bool,
    /// A read waits for all that is queued.
    #[arg(long, requires = "asynchronous")]
    pub in_order_reads: bool,
    /// Times pass in earnest, so that others can measure them.
    #[arg(long)]
    pub real_time: bool,
    /// Tokens that a rewind can take back at most, as with a window; all when absent.
    #[arg(long, value_name = "TOKENS")]
    pub rewinds: Option<usize>,
    /// After a rewind all logits are those of another text, as where a cache keeps what it should forget.
    #[arg(long)]
    pub wrong_after_rewind: bool,
    /// Memory that each generation takes and never gives back, in bytes.
    #[arg(long, default_value_t = 0)]
    pub leak_bytes: usize,
    /// Each generation moves the first line of this file to the test device's, but for the last one.
    #[arg(long, value_name = "FILE", requires = "test_device")]
    pub device_states: Option<PathBuf>,
    /// The test device, which the runner reads: see `docs/development.md`.
    #[arg(long, value_name = "FILE", env = TEST_DEVICE, hide = true)]
    pub test_device: Option<PathBuf>,
    /// What goes wrong, as KIND@N: at the N-th generation, counted from 1, warm-up included.
    #[arg(long)]
    pub fault: Option<Fault>,
    /// Gradients of a training are half as large as they should be.
    #[arg(long)]
    pub wrong_gradients: bool,
    /// It can't train.
    #[arg(long)]
    pub no_training: bool,
    /// What goes wrong with a trial, as KIND@OP or KIND@OP/DTYPE.
    #[arg(long, env = "MLXBENCH_MOCK_TRIAL_FAULTS", value_delimiter = ',')]
    pub trial_faults: Vec<TrialFault>,
}

/// The scripted backend. It has a CPU that computes in f32 and bf16, with quantised weights too, and not in
/// f16.
#[derive(Debug)]
pub struct MockBackend {
    script: Script,
    clock: VirtualClock,
}

impl MockBackend {
    /// A backend that spends the time of `clock`.
    pub fn new(script: Script, clock: VirtualClock) -> Self {
        Self { script, clock }
    }
}

impl Backend for MockBackend {
    type Model = MockModel;
    type Product = MockProduct;

    fn identity(&self) -> Result<Identity> {
        Ok(Identity {
            backend: "mock".into(),
            framework: "mock".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            libraries: BTreeMap::new(),
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        let precisions = Precision::ALL.map(|precision| PrecisionSupport {
            precision,
            unsupported: (precision.compute() == Dtype::F16)
                .then(|| "the mock has no f16".to_owned()),
        });
        vec![DeviceSupport {
            device: Device::cpu(),
            description: None,
            precisions: precisions.into(),
        }]
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        Ok(threads.unwrap_or(1))
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<MockModel> {
        placement.device.refuse_ways("the mock")?;
        if placement.device.kind() != "cpu" || placement.precision.compute() == Dtype::F16 {
            return Err(Error::Unsupported(format!("the mock has no {placement}")));
        }
        self.clock.advance(Nanos(self.script.load_ns));
        let mut model = MockModel::new(self.script.clone(), self.clock.clone());
        model.config = checkpoint.config().clone();
        Ok(model)
    }

    fn product(
        &mut self,
        shape: ProductShape,
        _copies: usize,
        placement: &Placement,
    ) -> Result<MockProduct> {
        let seconds = |work: u64, rate: u64| work as f64 / rate as f64;
        let reading = seconds(
            shape.weight_bytes(placement.precision.compute()),
            self.script.bytes_per_second,
        );
        let multiplying = seconds(shape.operations(), self.script.operations_per_second);
        Ok(MockProduct {
            time: Nanos((reading.max(multiplying) * 1e9) as u64),
            clock: self.clock.clone(),
        })
    }

    fn tries(&self) -> &'static [&'static str] {
        &Program::OPS
    }

    /// What should come out, rounded to the dtype, but for scripted faults.
    fn attempt(
        &mut self,
        program: &Program,
        element: ElementType,
        _device: &Device,
    ) -> Result<Tensor> {
        let expected = program.expected(element)?;
        let mut numbers = expected.numbers;
        let mut faults = self.script.trial_faults.iter();
        let fault = faults.find(|fault| {
            let here = fault.element.is_none_or(|of| of == element);
            here && fault.op == program.op()
        });
        match fault.map(|fault| fault.kind) {
            None => {}
            Some(TrialFaultKind::Wrong) => numbers[0] += 1.0,
            Some(TrialFaultKind::Missing) => {
                return Err(Error::Framework(format!(
                    "mock: no kernel for {} in {element}, as scripted",
                    program.op()
                )));
            }
            Some(TrialFaultKind::Die) => {
                tell("mock: dying as scripted");
                std::process::abort();
            }
            Some(TrialFaultKind::Hang) => loop {
                std::thread::park();
            },
        }
        let is_index = matches!(program, Program::Argmax { .. });
        Ok(match element == ElementType::I64 || is_index {
            true => Tensor::ints(
                expected.shape,
                numbers.into_iter().map(|x| x as i64).collect(),
            ),
            false => {
                let rounded = numbers.into_iter().map(|x| element.round(x as f32));
                Tensor::floats(expected.shape, rounded.collect())
            }
        })
    }
}

/// A product whose time follows from its bytes and operations, whichever takes longer.
#[derive(Debug)]
pub struct MockProduct {
    time: Nanos,
    clock: VirtualClock,
}

impl Product for MockProduct {
    fn multiply(&mut self, _copy: usize) -> Result<()> {
        self.clock.advance(self.time);
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The scripted model: each token follows from the one before it by a fixed rule.
#[derive(Debug)]
pub struct MockModel {
    config: GemmaConfig,
    script: Script,
    clock: VirtualClock,
    generations: u64,
    leaked: Vec<Vec<u8>>,
    /// When all work that was handed over is done.
    done: Nanos,
    /// Tokens of a row in the cache.
    cached: usize,
    /// Whether this generation went back.
    rewound: bool,
}

/// The next token of each row.
#[derive(Debug, Clone)]
pub struct MockOutput {
    /// Those that the model chose.
    greedy: Vec<TokenId>,
    /// Those from which it goes on.
    tokens: Vec<TokenId>,
    /// When they are known.
    done: Nanos,
}

impl MockModel {
    /// A model that spends the time of `clock`.
    pub fn new(script: Script, clock: VirtualClock) -> Self {
        let config = preset("gemma-3-270m").expect("a preset of ours").config();
        Self {
            config,
            script,
            clock,
            generations: 0,
            leaked: Vec::new(),
            done: Nanos(0),
            cached: 0,
            rewound: false,
        }
    }

    /// Work of the device: the host hands it over, and it starts when the work before it is done.
    fn work(&mut self, ns: u64) {
        let repeated = self.generations.saturating_sub(1);
        let percent = self.script.slowdown_percent * repeated + self.script.slower_percent;
        let slowed = |ns: u64| ns + ns * percent / 100;
        self.clock.advance(Nanos(slowed(self.script.launch_ns)));
        self.done = Nanos(self.done.0.max(self.clock.now().0) + slowed(ns));
        if !self.script.asynchronous {
            self.wait_until(self.done);
        }
    }

    fn wait_until(&self, done: Nanos) {
        let left = done.0.saturating_sub(self.clock.now().0);
        self.clock.advance(Nanos(left));
    }

    fn fault(&self) -> Option<FaultKind> {
        let fault = self.script.fault?;
        (fault.at == self.generations).then_some(fault.kind)
    }

    /// Dies, hangs or fails, where this generation is scripted to.
    fn fail_as_scripted(&self) -> Result<()> {
        match self.fault() {
            Some(FaultKind::Die) => {
                tell("mock: dying as scripted");
                std::process::abort();
            }
            Some(FaultKind::Hang) => loop {
                std::thread::park();
            },
            Some(FaultKind::Fail) => {
                Err(Error::Framework("mock: out of memory, as scripted".into()))
            }
            Some(FaultKind::NotFinite) | None => Ok(()),
        }
    }

    /// What the work that was handed over last makes of each row's last token.
    fn output(&self, last: impl Iterator<Item = TokenId>) -> MockOutput {
        let greedy: Vec<TokenId> = last.map(|token| self.next(token)).collect();
        MockOutput {
            tokens: greedy.clone(),
            greedy,
            done: self.done,
        }
    }

    fn next(&self, previous: TokenId) -> TokenId {
        let previous = previous + u32::from(self.rewound && self.script.wrong_after_rewind);
        let next = u64::from(previous) * 6_364_136_223 + 1_442_695_041;
        (next % self.config.vocab_size as u64) as TokenId
    }
}

impl Model for MockModel {
    type Output = MockOutput;

    fn config(&self) -> &GemmaConfig {
        &self.config
    }

    fn reads(&self) -> Reads {
        match (self.script.asynchronous, self.script.in_order_reads) {
            (false, _) => Reads::Immediate,
            (true, false) => Reads::Own,
            (true, true) => Reads::InOrder,
        }
    }

    fn reset(&mut self, _context: ContextShape) -> Result<()> {
        self.generations += 1;
        (self.cached, self.rewound) = (0, false);
        if let (Some(states), Some(device)) = (&self.script.device_states, &self.script.test_device)
        {
            next_state(states, device)
                .map_err(|error| Error::Framework(format!("mock: --device-states: {error}")))?;
        }
        if self.script.leak_bytes > 0 {
            self.leaked.push(vec![1; self.script.leak_bytes]);
        }
        Ok(())
    }

    fn prefill(&mut self, tokens: &TokenBatch) -> Result<()> {
        self.cached += tokens.len();
        self.work(self.script.prefill_ns_per_token * tokens.len() as u64);
        Ok(())
    }

    fn forward(&mut self, tokens: &TokenBatch) -> Result<MockOutput> {
        self.prefill(tokens)?;
        let last = tokens.rows().map(|row| *row.last().unwrap_or(&0));
        Ok(self.output(last))
    }

    fn step(&mut self, previous: &MockOutput) -> Result<MockOutput> {
        self.cached += 1;
        self.work(self.script.step_ns);
        Ok(self.output(previous.tokens.iter().copied()))
    }

    fn force(&mut self, output: MockOutput, ids: &[TokenId]) -> Result<MockOutput> {
        Ok(MockOutput {
            tokens: ids.to_vec(),
            ..output
        })
    }

    fn rewind(&mut self, position: usize) -> Result<()> {
        let back = self.cached.checked_sub(position);
        match back.filter(|back| self.script.rewinds.is_none_or(|most| *back <= most)) {
            Some(_) => (self.cached, self.rewound) = (position, true),
            None => {
                return Err(Error::Invalid(format!(
                    "mock: {} tokens can't be rewound to {position}",
                    self.cached
                )));
            }
        }
        Ok(())
    }

    fn trainer(&mut self, lora: &Lora) -> Result<Box<dyn Trainer + '_>> {
        MockTrainer::start(self, lora).map(|trainer| Box::new(trainer) as _)
    }

    fn read(&mut self, output: &MockOutput) -> Result<Vec<TokenId>> {
        self.fail_as_scripted()?;
        self.wait_until(match self.reads() {
            Reads::InOrder => self.done,
            Reads::Own | Reads::Immediate => output.done,
        });
        self.clock.advance(Nanos(self.script.read_ns));
        Ok(output.tokens.clone())
    }

    fn logits(&mut self, output: &MockOutput) -> Result<Vec<f32>> {
        let vocab = self.config.vocab_size;
        let mut logits = vec![0.0; vocab * output.greedy.len()];
        for (row, &token) in logits.chunks_mut(vocab).zip(&output.greedy) {
            row[token as usize] = 1.0;
        }
        if self.fault() == Some(FaultKind::NotFinite) {
            logits.fill(f32::NAN);
        }
        Ok(logits)
    }

    fn synchronize(&mut self) -> Result<()> {
        self.wait_until(self.done);
        Ok(())
    }
}

/// Moves the first line of `states` to `device`, which somebody reads meanwhile; the last line stays.
fn next_state(states: &Path, device: &Path) -> io::Result<()> {
    let text = fs::read_to_string(states)?;
    let (first, rest) = text.trim_end().split_once('\n').unwrap_or((&text, &text));
    let whole = device.with_extension("next");
    fs::write(&whole, first)?;
    fs::rename(&whole, device)?;
    fs::write(states, rest)
}
