//! The worker protocol of a client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use mlxbench_core::backend::{DeviceSupport, Identity, PrecisionSupport, Reads};
use mlxbench_core::clock::MonotonicClock;
use mlxbench_core::protocol::{AskLogprobs, Hello, Loaded, Reply, Request, Serve, Served, VERSION};
use mlxbench_core::worker::check_protocol;
use mlxbench_core::{Error, Precision, Result};

use crate::clients::{Load, ask, left, run};
use crate::endpoint::{Arguments, Endpoint};
use crate::prompts::{Lengths, prompt};

/// How long the server may take to introduce itself.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// Words of the shorter prompt that is counted.
const SHORT: usize = 16;
/// Words of the longer one at most.
const LONG: usize = 272;
/// How long a server that is too busy to count is left alone, each time in turn, where it doesn't say so itself
/// (`Retry-After`).
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// How long it is left alone at least, whatever it says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// A client with what it has learnt of its server.
pub struct Client {
    arguments: Arguments,
    endpoint: Option<Endpoint>,
    lengths: Option<Lengths>,
    /// Of the prompts: each gets the next one, and no other process has them.
    seed: u64,
}

impl Client {
    /// A client of the server that `arguments` name.
    pub fn new(arguments: Arguments) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.map_or(0, |since| since.as_nanos() as u64);
        Self {
            arguments,
            endpoint: None,
            lengths: None,
            seed: nanos ^ (u64::from(std::process::id()) << 40),
        }
    }

    /// Answers a request of the runner's.
    ///
    /// # Errors
    /// When the server can't be asked, or a server can't be asked for that.
    pub fn answer(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Hello { protocol } => {
                check_protocol(protocol)?;
                self.hello()
            }
            Request::Load(_) => self.load(),
            Request::Serve(serve) => self.serve(&serve),
            Request::Logprobs(asked) => self.logprobs(&asked),
            _ => Err(Error::Unsupported(
                "a server is measured by tests of kind = \"serve\" alone".into(),
            )),
        }
    }

    fn endpoint(&mut self) -> Result<&mut Endpoint> {
        let endpoint = match self.endpoint.take() {
            Some(endpoint) => endpoint,
            None => Endpoint::new(&self.arguments).map_err(Error::Invalid)?,
        };
        Ok(self.endpoint.insert(endpoint))
    }

    fn hello(&mut self) -> Result<Reply> {
        let introduced = self.endpoint()?.introduce(INTRODUCTION);
        let (software, version) = introduced.map_err(|fault| Error::Framework(fault.message))?;
        let supported = |precision| PrecisionSupport {
            precision,
            unsupported: None,
        };
        Ok(Reply::Hello(Hello {
            protocol: VERSION,
            identity: Identity {
                backend: "openai".into(),
                framework: self.arguments.name.clone(),
                version,
                libraries: software
                    .map(|name| ("server".to_owned(), name))
                    .into_iter()
                    .collect(),
            },
            devices: vec![DeviceSupport {
                device: "server".parse()?,
                // Which machine it is, its clients don't know.
                description: None,
                // What the server computes in is its own business: the config says it, for the tables.
                precisions: Precision::ALL.map(supported).to_vec(),
            }],
            tries: Vec::new(),
        }))
    }

    /// Whoever asks first may wait until the server has loaded the model.
    fn load(&mut self) -> Result<Reply> {
        let start = Instant::now();
        let introduced = self.endpoint()?.introduce(INTRODUCTION);
        introduced.map_err(|fault| Error::Framework(fault.message))?;
        Ok(Reply::Loaded(Loaded {
            load_ns: start.elapsed().into(),
            threads: 1,
            reads: Reads::Own,
            kernels: BTreeMap::new(),
            storage: None,
        }))
    }

    fn serve(&mut self, serve: &Serve) -> Result<Reply> {
        if serve.requests == 0 || serve.concurrency == 0 || serve.new_tokens == 0 {
            return Err(Error::Invalid(
                "requests, concurrency and new_tokens must be 1 or more".into(),
            ));
        }
        let start = Instant::now();
        let within = Duration::from_nanos(serve.within_ns.0);
        let lengths = self.lengths(serve.prompt_tokens, within)?;
        let words = lengths.words(serve.prompt_tokens);
        let prompts: Vec<String> = (0..serve.requests).map(|_| self.prompt(words)).collect();
        let load = Load {
            endpoint: self.endpoint()?,
            prompts: &prompts,
            new_tokens: serve.new_tokens,
            within: within.saturating_sub(start.elapsed()),
        };
        let requests = run(&load, serve.concurrency);
        if requests.len() < serve.requests {
            return Err(Error::framework("a client ended in the middle of its work"));
        }
        Ok(Reply::Served(Served { requests }))
    }

    fn logprobs(&mut self, asked: &AskLogprobs) -> Result<Reply> {
        let told = self.endpoint()?.logprobs(asked);
        match told.map_err(|fault| Error::Framework(fault.message))? {
            Some(told) => Ok(Reply::Logprobs(told)),
            None => Err(Error::Unsupported(
                "the server gives no log-probabilities of its answer's tokens".into(),
            )),
        }
    }

    fn prompt(&mut self, words: usize) -> String {
        self.seed = self.seed.wrapping_add(1);
        prompt(self.arguments.endpoint, words, self.seed)
    }

    /// How long prompts are, by the server's count of two of them.
    fn lengths(&mut self, tokens: usize, within: Duration) -> Result<Lengths> {
        if let Some(lengths) = self.lengths {
            return Ok(lengths);
        }
        let long = tokens.clamp(2 * SHORT, LONG);
        let start = Instant::now();
        let short = self.count(SHORT, within)?;
        let left = within.saturating_sub(start.elapsed());
        let counts = (short, self.count(long, left)?);
        let lengths = match counts {
            (Some(short), Some(counted)) => Lengths::of((SHORT, short), (long, counted)),
            _ => Lengths::UNKNOWN,
        };
        Ok(*self.lengths.insert(lengths))
    }

    /// The server's count of a prompt's tokens, where it counts. A server that refuses to be asked for it in a stream
    /// is asked without; one that is too busy (429, 503) is asked again after a pause, as long as there is time for
    /// it.
    ///
    /// # Errors
    /// When the server fails, or stays busy.
    fn count(&mut self, words: usize, within: Duration) -> Result<Option<u64>> {
        let prompts = [self.prompt(words)];
        let endpoint = self.endpoint()?;
        let (clock, mut pauses) = (MonotonicClock::default(), PAUSES.into_iter());
        loop {
            let load = Load {
                endpoint,
                prompts: &prompts,
                new_tokens: 1,
                within,
            };
            let agent = Endpoint::agent();
            let (request, fault) = ask(&load, &agent, &prompts[0], &clock);
            let left = left(&load, &clock);
            match fault {
                None => return Ok(request.prompt_tokens),
                Some(fault) if matches!(fault.status, Some(429 | 503)) => {
                    let pause = fault.retry_after.or_else(|| pauses.next());
                    let pause = pause.map(|pause| pause.max(SHORTEST_PAUSE));
                    match pause.filter(|pause| *pause < left) {
                        Some(pause) => std::thread::sleep(pause),
                        None => return Err(Error::Framework(fault.message)),
                    }
                }
                Some(fault)
                    if endpoint.with_usage
                        && matches!(fault.status, Some(400 | 422))
                        && fault.message.contains("stream_options") =>
                {
                    endpoint.with_usage = false;
                }
                // An end token at once is no fault of the prompt's length.
                Some(_) if request.prompt_tokens.is_some() => return Ok(request.prompt_tokens),
                Some(fault) => return Err(Error::Framework(fault.message)),
            }
        }
    }
}
