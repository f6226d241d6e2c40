//! One worker process: requests and replies, time-outs, last words, and no orphan left behind.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mlxbench_core::protocol::{
    ErrorKind, Generate, Generated, Hello, Load, Loaded, Probe, Reply, Request, Score, VERSION,
};
use mlxbench_core::results::{FailureKind, Timeline};
use mlxbench_core::{Device, Nanos};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::{Interrupt, POLL};
use crate::locate::Command;
use crate::system::{self, MemorySampler};

/// Lines of stderr kept to be quoted.
const LAST_WORDS: usize = 12;
/// How long a worker whose pipes closed may take to end by itself, so that its own status is told.
const GRACE: Duration = Duration::from_secs(2);
/// The longest reply line that is read: a batch of long generations fits many times over.
const LONGEST_REPLY: u64 = 256 << 20;

/// How often a worker's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How the loaders of Linux and macOS say that a program lacks a library.
const LOADERS_WORDS: [&str; 2] = ["error while loading shared libraries", "Library not loaded"];

/// Why a worker gave no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WorkerError {
    /// What kind; `None` when the user interrupted.
    pub kind: Option<FailureKind>,
    /// What happened, with the worker's last words.
    pub message: String,
}

impl WorkerError {
    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind: Some(kind),
            message: message.into(),
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
    child: Child,
    /// Taken when the worker is told to go.
    stdin: Option<ChildStdin>,
    replies: Receiver<std::io::Result<String>>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: Option<thread::JoinHandle<()>>,
    timeout: Duration,
    interrupt: Interrupt,
    /// Whether the whole group is dead and its number may be another's.
    buried: bool,
    /// The most memory that the process may hold.
    memory_limit_bytes: Option<u64>,
    /// The process's memory during the last request.
    timeline: Option<Timeline>,
}

impl Worker {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches the runner alone.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn start(
        command: &Command,
        timeout: Duration,
        interrupt: Interrupt,
    ) -> Result<Self, WorkerError> {
        let mut child = std::process::Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let program = command.program.display();
                WorkerError::new(
                    FailureKind::Missing,
                    format!("{program} doesn't start: {error}"),
                )
            })?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was asked to be piped");
        let stderr_pipe = child.stderr.take().expect("stderr was asked to be piped");

        let (sender, replies) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            loop {
                let mut line = String::new();
                let read = lines.by_ref().take(LONGEST_REPLY).read_line(&mut line);
                let ended = !matches!(read, Ok(n) if n > 0);
                if (read.is_err() || !line.is_empty()) && sender.send(read.map(|_| line)).is_err()
                    || ended
                {
                    break;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let words = Arc::clone(&stderr);
        let stderr_reader = thread::spawn(move || {
            for line in BufReader::new(stderr_pipe)
                .split(b'\n')
                .map_while(Result::ok)
            {
                let mut words = words.lock().unwrap_or_else(|poison| poison.into_inner());
                if words.len() == LAST_WORDS {
                    words.pop_front();
                }
                words.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let stderr_reader = Some(stderr_reader);
        Ok(Self {
            child,
            stdin,
            replies,
            stderr,
            stderr_reader,
            timeout,
            interrupt,
            buried: false,
            memory_limit_bytes: None,
            timeline: None,
        })
    }

    /// Introduces runner and worker to each other.
    ///
    /// # Errors
    /// When the worker speaks another protocol or can't tell its framework's version.
    pub fn hello(&mut self) -> Result<Hello, WorkerError> {
        match self.request(&Request::Hello { protocol: VERSION })? {
            Reply::Hello(hello) if hello.protocol == VERSION => Ok(hello),
            Reply::Hello(hello) => Err(WorkerError::new(
                FailureKind::Protocol,
                format!(
                    "the worker speaks protocol {}, mlxbench {VERSION}",
                    hello.protocol
                ),
            )),
            other => Err(unexpected(&other)),
        }
    }

    /// Loads a model.
    ///
    /// # Errors
    /// When the worker can't.
    pub fn load(&mut self, load: Load) -> Result<Loaded, WorkerError> {
        match self.request(&Request::Load(load))? {
            Reply::Loaded(loaded) => Ok(loaded),
            other => Err(unexpected(&other)),
        }
    }

    /// Generates, and checks that as many tokens and times came back as belong together.
    ///
    /// # Errors
    /// When the worker can't, or its answer doesn't add up.
    pub fn generate(&mut self, generate: Generate) -> Result<Generated, WorkerError> {
        let (rows, at_most) = (generate.prompt.batch(), generate.new_tokens);
        let exact = generate.stop.is_empty();
        match self.request(&Request::Generate(generate))? {
            Reply::Generated(generated) => {
                let count = generated.token_ns.len();
                let whole = generated.tokens.len() == rows
                    && generated.tokens.iter().all(|row| row.len() == count)
                    && generated.token_ns.is_sorted()
                    && if exact {
                        count == at_most
                    } else {
                        (1..=at_most).contains(&count)
                    };
                if whole {
                    Ok(generated)
                } else {
                    Err(WorkerError::new(
                        FailureKind::Protocol,
                        format!(
                            "asked for {at_most} tokens in {rows} rows, the worker answered with \
                             {count} times and {} rows, or with times that run backwards",
                            generated.tokens.len()
                        ),
                    ))
                }
            }
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
            Reply::Probed { product_ns } => Ok(product_ns),
            other => Err(unexpected(&other)),
        }
    }

    /// The most memory that the process has held so far, or since [`Self::reset_peak_memory`].
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        system::peak_memory_bytes(self.child.id())
    }

    /// What the process holds of an NVIDIA GPU's memory, where the driver says.
    pub fn device_memory_bytes(&self, device: &Device) -> Option<u64> {
        match device.kind() {
            "cuda" => system::process_memory_bytes(device.index(), self.child.id()),
            _ => None,
        }
    }

    /// Forgets the peak. False where the system can't.
    pub fn reset_peak_memory(&self) -> bool {
        system::reset_peak(self.child.id())
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
        let pid = self.child.id();
        let exceeded = Arc::new(OnceLock::new());
        let tell = Arc::clone(&exceeded);
        let kill = move |bytes| {
            let _ = tell.set(bytes);
            kill_group(pid);
        };
        let sampler = MemorySampler::start(pid, LOOK, Some(limit), kill);
        let reply = self.exchange(request);
        self.timeline = Some(sampler.stop());
        match exceeded.get() {
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
        let mut line = serde_json::to_vec(request).expect("requests are plain data");
        line.push(b'\n');
        let sent = match &mut self.stdin {
            Some(stdin) => stdin.write_all(&line).and_then(|()| stdin.flush()),
            None => {
                return Err(WorkerError::new(
                    FailureKind::Died,
                    "the worker was told to go",
                ));
            }
        };
        if sent.is_err() {
            return Err(self.death());
        }
        let line = self.wait_for_line()?;
        match serde_json::from_str(&line) {
            Ok(Reply::Error { kind, message }) => Err(WorkerError::new(
                match kind {
                    ErrorKind::Unsupported => FailureKind::Unsupported,
                    ErrorKind::Invalid | ErrorKind::Failed => FailureKind::Failed,
                },
                message,
            )),
            Ok(reply) => Ok(reply),
            Err(_) => Err(WorkerError::new(
                FailureKind::Protocol,
                format!(
                    "the worker printed {:?} where a reply was due",
                    shorten(line.trim_end())
                ),
            )),
        }
    }

    fn wait_for_line(&mut self) -> Result<String, WorkerError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.replies.recv_timeout(POLL) {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(error)) => {
                    let message = format!("the worker's reply can't be read: {error}");
                    return Err(WorkerError::new(FailureKind::Protocol, message));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.death()),
                Err(RecvTimeoutError::Timeout) if self.interrupt.is_set() => {
                    return Err(WorkerError {
                        kind: None,
                        message: "interrupted".into(),
                    });
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    let message = format!(
                        "no answer within {} s: the worker was killed{}",
                        self.timeout.as_secs(),
                        self.last_words()
                    );
                    self.kill();
                    return Err(WorkerError::new(FailureKind::TimedOut, message));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What became of a worker whose pipes closed.
    fn death(&mut self) -> WorkerError {
        let patience = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        // A worker that closed its stdout but lives on is of no use either.
        self.kill();
        let how = match self.child.wait() {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        self.buried = true;
        if let Some(reader) = self.stderr_reader.take() {
            let _ = reader.join();
        }
        let words = self.last_words();
        if LOADERS_WORDS.iter().any(|loader| words.contains(loader)) {
            let message = format!("a library of the worker is missing: run scripts/setup{words}");
            return WorkerError::new(FailureKind::Missing, message);
        }
        let message = format!("the worker died ({how}){words}");
        WorkerError::new(FailureKind::Died, message)
    }

    fn last_words(&self) -> String {
        let words = self
            .stderr
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        let spoken: Vec<&str> = words
            .iter()
            .map(|line| line.trim_end())
            .filter(|line| !line.is_empty())
            .collect();
        match spoken.is_empty() {
            true => "; it left no last words on stderr".into(),
            false => format!("; its last words: {}", spoken.join("\n")),
        }
    }

    /// Kills the process and whatever it started: its group outlives it as long as a child runs. A
    /// process that has ended by itself keeps its own status.
    fn kill(&mut self) {
        if !self.buried {
            kill_group(self.child.id());
        }
    }
}

/// Kills the process group that process `leader` leads.
fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing stdin asks a worker to go; killing makes sure.
        self.stdin = None;
        self.kill();
        let _ = self.child.wait();
    }
}

fn unexpected(reply: &Reply) -> WorkerError {
    let name = match reply {
        Reply::Hello(_) => "hello",
        Reply::Loaded(_) => "loaded",
        Reply::Generated(_) => "generated",
        Reply::Scored => "scored",
        Reply::Probed { .. } => "probed",
        Reply::Error { .. } => "error",
    };
    WorkerError::new(
        FailureKind::Protocol,
        format!("the worker answered `{name}` out of turn"),
    )
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "signal 9, SIGKILL: killed from outside, perhaps for want of memory".into(),
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(code), None) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

fn shorten(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that is a shell script.
    fn shell(script: &str, timeout: Duration) -> Worker {
        let words = ["sh", "-c", script].map(str::to_owned);
        let command = crate::locate::worker_command("sh", Some(&words)).unwrap();
        Worker::start(&command, timeout, Interrupt::default()).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_worker_that_dies_is_quoted() {
        let mut worker = shell("read line; echo 'out of memory' >&2; exit 7", LONG);
        let error = worker.hello().unwrap_err();
        assert_eq!(error.kind, Some(FailureKind::Died));
        let expected = "the worker died (exit code 7); its last words: out of memory";
        assert_eq!(error.message, expected);
    }

    #[test]
    fn a_library_that_is_missing_is_told_with_the_way_to_get_it() {
        let words = "worker: error while loading shared libraries: libtorch_cpu.so: cannot open";
        let error = shell(&format!("echo '{words}' >&2; exit 127"), LONG).hello();
        let error = error.unwrap_err();
        assert_eq!(error.kind, Some(FailureKind::Missing));
        assert!(
            error.message.contains("run scripts/setup; its last words"),
            "{error}"
        );
    }

    #[test]
    fn what_a_dead_worker_started_dies_too() {
        let mut worker = shell(
            "read line; sleep 1000 >/dev/null 2>&1 & echo $! >&2; exit 7",
            LONG,
        );
        let message = worker.hello().unwrap_err().message;
        let pid = message.rsplit(' ').next().unwrap();
        let alive = std::process::Command::new("ps")
            .args(["-o", "stat=", "-p", pid])
            .output();
        let state = String::from_utf8(alive.unwrap().stdout).unwrap();
        assert!(
            state.is_empty() || state.starts_with('Z'),
            "{pid} is still there: {state}"
        );
    }

    #[test]
    fn a_worker_that_kills_itself_is_told_by_its_signal() {
        let error = shell("read line; kill -KILL $$", LONG).hello().unwrap_err();
        assert!(error.message.contains("signal 9, SIGKILL"), "{error}");
    }

    #[test]
    fn a_worker_that_hangs_is_killed() {
        let mut worker = shell("read line; read never", Duration::from_millis(50));
        assert_eq!(
            worker.hello().unwrap_err().kind,
            Some(FailureKind::TimedOut)
        );
    }

    #[test]
    fn rubbish_is_quoted() {
        let mut worker = shell("read line; echo 'Loading shards: 100%'; read never", LONG);
        let error = worker.hello().unwrap_err();
        assert_eq!(error.kind, Some(FailureKind::Protocol));
        assert!(
            error.message.contains("\"Loading shards: 100%\""),
            "{error}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_a_protocol_error() {
        let error = shell(r"read line; printf '\377\376\n'; read never", LONG)
            .hello()
            .unwrap_err();
        assert_eq!(error.kind, Some(FailureKind::Protocol));
    }

    #[test]
    fn another_protocol_is_refused() {
        let hello = r#"{"type":"hello","protocol":2,"identity":{"backend":"x","framework":"x","version":"1"},"devices":[]}"#;
        let error = shell(&format!("read line; echo '{hello}'; read never"), LONG).hello();
        assert!(
            error
                .unwrap_err()
                .message
                .contains("protocol 2, mlxbench 1")
        );
    }

    #[test]
    fn an_answer_that_does_not_add_up_is_refused() {
        let reply = r#"{"type":"generated","tokens":[[1]],"token_ns":[5],"finite":true}"#;
        let mut worker = shell(&format!("read line; echo '{reply}'; read never"), LONG);
        let generate = Generate {
            context: None,
            prompt: mlxbench_core::TokenBatch::row(vec![2]),
            new_tokens: 2,
            chunk: 1,
            mode: mlxbench_core::generate::Mode::Pipelined,
            stop: vec![],
            logits: None,
        };
        let error = worker.generate(generate).unwrap_err();
        assert_eq!(error.kind, Some(FailureKind::Protocol), "{error}");
    }

    #[test]
    fn an_interrupt_ends_the_wait() {
        let mut worker = shell("read line; read never", LONG);
        worker.interrupt.set();
        assert_eq!(worker.hello().unwrap_err().kind, None);
    }
}
