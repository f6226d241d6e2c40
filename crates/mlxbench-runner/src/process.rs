//! One worker process: requests and replies, time-outs, last words, and no orphan left behind.
//!
//! A worker is any program, so nothing here trusts one: neither reading nor writing nor its end is waited
//! for without a bound, and what it prints takes no more memory than an answer can have.
//!
//! | module | its subject |
//! |---|---|
//! | `group` | the process and whatever it starts: starting, killing, waiting |
//! | `pipes` | stdin and stdout, each with a thread of its own |
//! | `last_words` | the end of stderr |
//! | `replies` | what is taken for an answer |
//! | `conversation`, `training`, `serving` | the same of the requests of their kinds |
//! | `memory` | the watch over its memory |

mod conversation;
mod group;
mod last_words;
mod memory;
mod pipes;
mod replies;
mod serving;
mod training;

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mlxbench_core::protocol::{
    AskLogprobs, Converse, Conversed, Generate, Generated, Hello, Load, Loaded, Logprobs, Probe,
    Reply, Request, Score, Serve, Train, Trained, Try, VERSION,
};
use mlxbench_core::results::{FailureKind, ServedRequest, Timeline};
use mlxbench_core::trial::Tensor;
use mlxbench_core::{Device, Nanos};

use crate::interrupt::{Interrupt, POLL};
use crate::locate::Command;
use crate::system;

pub use group::kill_all;
pub(crate) use group::{End, Group};
use last_words::LastWords;
use memory::Watch;
use pipes::{Incoming, Pipes};
use replies::{Asked, unexpected};

/// How long a worker whose pipes closed may take to end by itself, so that its own status is told, and
/// how long the pipes of one that ended may stay open.
const GRACE: Duration = Duration::from_secs(2);

/// How the loaders of Linux and macOS say that a program lacks a library.
const LOADERS_WORDS: [&str; 2] = ["error while loading shared libraries", "Library not loaded"];

/// What would have a worker's framework compute something else than what is measured and tried, without a word. The
/// user's shell may have them for other programs; a worker never sees them.
///
/// - `PYTORCH_ENABLE_MPS_FALLBACK=1`: PyTorch runs what MPS lacks on the CPU, so that a missing operation seems to
///   work and is timed as MPS's.
/// - `NVIDIA_TF32_OVERRIDE` and `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`: products in f32 are made of factors with 10 bits.
const NOT_INHERITED: [&str; 3] = [
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
];

/// Why a worker gave no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WorkerError {
    /// What kind; `None` when the user interrupted.
    pub kind: Option<FailureKind>,
    /// What happened, with the worker's last words.
    pub message: String,
    /// Whether the worker calls the request invalid: the fault is ours, not the framework's.
    pub is_invalid: bool,
}

impl WorkerError {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind: Some(kind),
            message: message.into(),
            is_invalid: false,
        }
    }

    fn interrupted() -> Self {
        Self {
            kind: None,
            message: "interrupted".into(),
            is_invalid: false,
        }
    }

    /// Whether the worker is of no use any more.
    pub fn loses_worker(&self) -> bool {
        !matches!(
            self.kind,
            Some(FailureKind::Unsupported | FailureKind::Failed)
        )
    }
}

/// A running worker. Dropping it kills its process and whatever that started.
#[derive(Debug)]
pub struct Worker {
    group: Group,
    pipes: Pipes,
    last_words: LastWords,
    timeout: Duration,
    interrupt: Interrupt,
    /// The most memory that the process may hold.
    memory_limit_bytes: Option<u64>,
    /// The process's memory during the last request.
    timeline: Option<Timeline>,
}

impl Worker {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches the runner alone. A request
    /// may take `timeout`, from its first byte that is written to the last of the reply.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn start(
        command: &Command,
        timeout: Duration,
        interrupt: Interrupt,
    ) -> Result<Self, WorkerError> {
        let mut process = std::process::Command::new(&command.program);
        process
            .args(&command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in NOT_INHERITED {
            process.env_remove(name);
        }
        let mut group = Group::start(&mut process).map_err(|error| {
            let program = command.program.display();
            let message = format!("{program} doesn't start: {error}");
            WorkerError::new(FailureKind::Missing, message)
        })?;
        let leader = &mut group.leader;
        let stdin = leader.stdin.take().expect("stdin was asked to be piped");
        let stdout = leader.stdout.take().expect("stdout was asked to be piped");
        let stderr = leader.stderr.take().expect("stderr was asked to be piped");
        Ok(Self {
            group,
            pipes: Pipes::open(stdin, stdout, replies::SHORT),
            last_words: LastWords::listen(stderr),
            timeout,
            interrupt,
            memory_limit_bytes: None,
            timeline: None,
        })
    }

    /// Starts `command`, and asks it what it is.
    ///
    /// # Errors
    /// As of [`start`](Self::start) and [`hello`](Self::hello), and when the worker can't tell its framework's
    /// version.
    pub fn introduce(
        command: &Command,
        timeout: Duration,
        interrupt: Interrupt,
    ) -> Result<Hello, WorkerError> {
        let hello = Self::start(command, timeout, interrupt)?.hello()?;
        match hello.identity.version.trim().is_empty() {
            true => Err(WorkerError::new(
                FailureKind::Unsupported,
                "the worker can't tell its framework's version, so it isn't timed",
            )),
            false => Ok(hello),
        }
    }

    /// Introduces runner and worker to each other.
    ///
    /// # Errors
    /// When the worker doesn't answer, or speaks another protocol.
    pub fn hello(&mut self) -> Result<Hello, WorkerError> {
        let reply = self.request(&Request::Hello { protocol: VERSION });
        match reply.map_err(replies::refusal)? {
            Reply::Hello(hello) if hello.protocol == VERSION => Ok(replies::introduction(hello)),
            Reply::Hello(hello) => Err(replies::other_protocol(hello.protocol.into())),
            other => Err(unexpected(&other)),
        }
    }

    /// Loads a model.
    ///
    /// # Errors
    /// When the worker can't.
    pub fn load(&mut self, load: Load) -> Result<Loaded, WorkerError> {
        match self.request(&Request::Load(load))? {
            Reply::Loaded(loaded) => replies::loaded(loaded),
            other => Err(unexpected(&other)),
        }
    }

    /// Generates, and checks that as many tokens of a model with `vocab_size` of them, and as many times,
    /// came back as belong together.
    ///
    /// # Errors
    /// When the worker can't, or its answer doesn't add up.
    pub fn generate(
        &mut self,
        generate: Generate,
        vocab_size: usize,
    ) -> Result<Generated, WorkerError> {
        let asked = Asked::new(&generate, vocab_size);
        match self.request(&Request::Generate(generate))? {
            Reply::Generated(generated) => replies::generated(generated, &asked),
            other => Err(unexpected(&other)),
        }
    }

    /// Trains, and checks that what came back is of as many steps as were asked for.
    ///
    /// # Errors
    /// When the worker can't, or its answer doesn't add up.
    pub fn train(&mut self, train: Train) -> Result<Trained, WorkerError> {
        let (steps, gradients) = (train.batches.len(), train.gradients);
        match self.request(&Request::Train(train))? {
            Reply::Trained(trained) => training::checked(trained, steps, gradients),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends requests to a server, and checks that something became of each.
    ///
    /// # Errors
    /// When the worker can't, its answer doesn't add up, or all requests failed.
    pub fn serve(&mut self, serve: Serve) -> Result<Vec<ServedRequest>, WorkerError> {
        let count = serve.requests;
        match self.request(&Request::Serve(serve))? {
            Reply::Served(served) => serving::checked(served, count),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a server generate and tell how likely it found the tokens, and checks that it told of some, and of no more
    /// than were asked for.
    ///
    /// # Errors
    /// When the worker can't, or its answer doesn't add up.
    pub fn logprobs(&mut self, asked: AskLogprobs) -> Result<Logprobs, WorkerError> {
        let most = asked.new_tokens;
        match self.request(&Request::Logprobs(asked))? {
            Reply::Logprobs(told) => serving::told(told, most),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a conversation, and checks that as many turns, tokens and times came back as belong together.
    ///
    /// # Errors
    /// When the worker can't, or its answer doesn't add up.
    pub fn converse(
        &mut self,
        converse: Converse,
        vocab_size: usize,
    ) -> Result<Conversed, WorkerError> {
        let request = Request::Converse(converse.clone());
        match self.request(&request)? {
            Reply::Conversed(conversed) => conversation::checked(conversed, &converse, vocab_size),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the logits over a text written to a file.
    ///
    /// # Errors
    /// When the worker can't.
    pub fn score(&mut self, score: Score) -> Result<(), WorkerError> {
        match self.request(&Request::Score(score))? {
            Reply::Scored => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Times a product. Returns the time of one.
    ///
    /// # Errors
    /// When the worker can't.
    pub fn probe(&mut self, probe: Probe) -> Result<Nanos, WorkerError> {
        match self.request(&Request::Probe(probe))? {
            Reply::Probed { product_ns } => replies::time(product_ns),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a small program run, and gives what came out.
    ///
    /// # Errors
    /// When the worker can't.
    pub fn attempt(&mut self, attempt: Try) -> Result<Tensor, WorkerError> {
        match self.request(&Request::Try(attempt))? {
            Reply::Tried { output } => Ok(output),
            other => Err(unexpected(&other)),
        }
    }

    /// The most memory that the process has held so far, or since [`Self::reset_peak_memory`].
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        system::peak_memory_bytes(self.group.id())
    }

    /// What the process holds of an NVIDIA GPU's memory, where the driver says.
    pub fn device_memory_bytes(&self, device: &Device) -> Option<u64> {
        match device.kind() {
            "cuda" => system::process_memory_bytes(device.index(), self.group.id()),
            _ => None,
        }
    }

    /// Forgets the peak. False where the system can't.
    pub fn reset_peak_memory(&self) -> bool {
        system::reset_peak(self.group.id())
    }

    /// From now on the process's memory is watched during every request, and the process is killed as
    /// soon as it holds more than `bytes`.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.memory_limit_bytes = Some(bytes);
    }

    /// The process's memory during the last request, where it was watched.
    pub fn take_timeline(&mut self) -> Option<Timeline> {
        self.timeline.take()
    }

    fn request(&mut self, request: &Request) -> Result<Reply, WorkerError> {
        let Some(limit) = self.memory_limit_bytes else {
            return self.exchange(request);
        };
        let watch = Watch::start(self.group.id(), limit);
        let reply = self.exchange(request);
        let (timeline, exceeded) = watch.stop();
        self.timeline = Some(timeline);
        match exceeded {
            None => reply,
            Some(bytes) => Err(WorkerError::new(
                FailureKind::OutOfMemory,
                format!(
                    "the worker held {bytes} bytes of memory, more than the {limit} that it may \
                     ([measure] max_memory_bytes): it was killed"
                ),
            )),
        }
    }

    fn exchange(&mut self, request: &Request) -> Result<Reply, WorkerError> {
        // What came before anybody asked is no answer to what is asked now.
        if let Some(early) = self.pipes.receive(Duration::ZERO) {
            return Err(match self.taken(early) {
                Ok(line) => replies::unasked(&line),
                Err(error) => error,
            });
        }
        let mut line = serde_json::to_vec(request).expect("requests are plain data");
        line.push(b'\n');
        if !self.pipes.send(line, replies::longest(request)) {
            return Err(self.death());
        }
        let incoming = self.wait()?;
        let line = self.taken(incoming)?;
        replies::parse(&line)
    }

    /// Waits until something happens on the pipes, the time is over, the user interrupts, or the process
    /// has ended and left its pipes to others.
    fn wait(&mut self) -> Result<Incoming, WorkerError> {
        let start = Instant::now();
        let mut gone: Option<Instant> = None;
        loop {
            if let Some(incoming) = self.pipes.receive(POLL) {
                return Ok(incoming);
            }
            if self.interrupt.is_set() {
                return Err(WorkerError::interrupted());
            }
            if start.elapsed() >= self.timeout {
                let message = format!(
                    "no answer within {} s: the worker was killed{}",
                    self.timeout.as_secs(),
                    self.said()
                );
                self.group.kill();
                return Err(WorkerError::new(FailureKind::TimedOut, message));
            }
            if self.group.leader_ended() && gone.get_or_insert_with(Instant::now).elapsed() >= GRACE
            {
                return Err(self.death());
            }
        }
    }

    /// The line that came, or why none did.
    fn taken(&mut self, incoming: Incoming) -> Result<String, WorkerError> {
        let wrong = |message: String| Err(WorkerError::new(FailureKind::Protocol, message));
        match incoming {
            Incoming::Line(line) => Ok(line),
            Incoming::Closed => Err(self.death()),
            Incoming::TooLong(most) => wrong(format!(
                "the worker's reply is longer than {most} bytes, which is more than any answer has"
            )),
            Incoming::Unreadable(error) => {
                wrong(format!("the worker's reply can't be read: {error}"))
            }
        }
    }

    /// What became of a worker whose pipes closed.
    fn death(&mut self) -> WorkerError {
        let how = match self.group.end(GRACE) {
            End::ByItself(status) => format!("the worker died ({})", describe(status)),
            // It closed its pipes and lived on: it is of no use either.
            End::Killed => "the worker closed its stdin or stdout, and was killed".into(),
            End::Alive => "the worker closed its stdin or stdout, and can't be killed".into(),
        };
        self.last_words.wait(GRACE);
        let words = self.said();
        if LOADERS_WORDS.iter().any(|loader| words.contains(loader)) {
            let message = format!("a library of the worker is missing: run scripts/setup{words}");
            return WorkerError::new(FailureKind::Missing, message);
        }
        WorkerError::new(FailureKind::Died, format!("{how}{words}"))
    }

    fn said(&self) -> String {
        match self.last_words.quote() {
            words if words.is_empty() => "; it left no last words on stderr".into(),
            words => format!("; its last words: {words}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing stdin asks a worker to go; its group's own drop makes sure.
        self.pipes.close();
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "signal 9, SIGKILL: killed from outside, perhaps for want of memory".into(),
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(code), None) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests;
