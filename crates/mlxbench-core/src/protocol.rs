//! The messages between runner and worker. PROTOCOL.md beside this crate's manifest tells how they
//! travel and what they mean; any program that speaks them is a worker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::{DeviceSupport, Identity, Reads};
use crate::converse::Turn;
use crate::gemma::Storage;
use crate::generate::Mode;
use crate::lora::Lora;
use crate::probe::ProductShape;
use crate::results::ServedRequest;
use crate::text::quotable;
use crate::trial::{ElementType, Program, Tensor};
use crate::{Device, Error, Nanos, Placement, Scheme, TokenBatch, TokenId};

/// The version of this protocol. Messages of another version are refused.
pub const VERSION: u32 = 3;

/// What the runner asks. One request at a time, each answered by one [`Reply`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// The first message: who are you, and what can you do here?
    Hello {
        /// The protocol that the runner speaks.
        protocol: u32,
    },
    /// Load a model; answered by [`Reply::Loaded`]. Replaces a model loaded before.
    Load(Load),
    /// Generate; answered by [`Reply::Generated`].
    Generate(Generate),
    /// Have a conversation with one KV cache; answered by [`Reply::Conversed`].
    Converse(Converse),
    /// Give the logits over a text; answered by [`Reply::Scored`].
    Score(Score),
    /// Train low-rank adapters; answered by [`Reply::Trained`].
    Train(Train),
    /// Send requests to a server; needs no model; answered by [`Reply::Served`].
    Serve(Serve),
    /// Have a server generate, and say how likely it found what; needs no model; answered by [`Reply::Logprobs`].
    Logprobs(AskLogprobs),
    /// Time a product with a weight matrix; needs no model; answered by [`Reply::Probed`].
    Probe(Probe),
    /// Run a small program and give what comes out; needs no model; answered by [`Reply::Tried`].
    Try(Try),
}

/// Which model to load, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// A model folder in the Hugging Face layout.
    pub model: PathBuf,
    /// Device and precision.
    pub placement: Placement,
    /// CPU threads; the framework's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Whose codes stand for the weights: each matrix is quantised and dequantised first, and then kept in
    /// the precision. What a quantised target is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dequantised: Option<Scheme>,
}

/// A generation to run. Greedy; the token ids are the runner's, so all workers get the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generate {
    /// Rows of ids put into the cache before the clock starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<TokenBatch>,
    /// Rows of ids handed over when the clock starts.
    pub prompt: TokenBatch,
    /// Tokens to generate a row.
    pub new_tokens: usize,
    /// The most tokens appended at once.
    pub chunk: usize,
    /// When the host waits for a token.
    pub mode: Mode,
    /// Ids that end the generation once every row has produced one; usually none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<TokenId>,
    /// Where to write the logits as safetensors: one f32 tensor `logits` of shape
    /// `[n x rows, vocab]`, position by position and row by row in it, whose argmax is the token
    /// generated there. The times of such a generation mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<PathBuf>,
}

/// A conversation to have. Greedy; what is generated in a turn is taken back before the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converse {
    /// The ids of each turn's prompt, the whole history in each.
    pub prompts: Vec<Vec<TokenId>>,
    /// Tokens to generate a turn.
    pub new_tokens: usize,
    /// The most tokens appended at once.
    pub chunk: usize,
    /// When the host waits for a token.
    pub mode: Mode,
    /// Where to write the logits of each prompt's last position as safetensors: one f32 tensor `logits` of shape
    /// `[turns, vocab]`. The times of such a conversation mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<PathBuf>,
}

/// A text whose logits are wanted: teacher forcing, by the steps and in the form of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Rows of ids put into the cache before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<TokenBatch>,
    /// Rows of ids: a prompt and what follows it.
    pub tokens: TokenBatch,
    /// How many of a row's are the prompt, appended in chunks; the rest follows one by one.
    pub prompt: usize,
    /// The most tokens appended at once.
    pub chunk: usize,
    /// When the host waits for the logits.
    pub mode: Mode,
    /// Where to write the logits as safetensors: one f32 tensor `logits` of shape
    /// `[n x rows, vocab]`, position by position and row by row in it: first those after `prompt`
    /// tokens of each row, last those after all.
    pub logits: PathBuf,
}

/// Steps to train fresh adapters by, on the model that is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// What is trained, and how.
    pub lora: Lora,
    /// Rows of ids of each step.
    pub batches: Vec<TokenBatch>,
    /// Whether the norms of gradients are wanted. The times of such a training mean nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradients: bool,
}

/// A product with a weight matrix of random numbers, to be timed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Device and precision.
    pub placement: Placement,
    /// CPU threads; the framework's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// The shapes of input and weights.
    pub shape: ProductShape,
    /// How many matrices of that shape take turns, so that no cache holds them all.
    pub copies: usize,
    /// Turns are repeated until this time is over.
    pub least_ns: Nanos,
}

/// A small program, to be run by the framework's own operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// Where.
    pub device: Device,
    /// In which dtype; indices, ids and masks are integers in any case.
    pub dtype: ElementType,
    /// What.
    pub program: Program,
}

/// Requests to a server, which the worker is a client of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serve {
    /// Tokens that each prompt should have by the server's count.
    pub prompt_tokens: usize,
    /// Tokens to ask for at most, each time.
    pub new_tokens: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// Requests.
    pub requests: usize,
    /// What isn't over by then, from the request's arrival on, has failed.
    pub within_ns: Nanos,
}

/// A generation by a server, the likeliest token each time, of which it tells the log-probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskLogprobs {
    /// A user's message, or the text itself: as the worker asks its server.
    pub prompt: String,
    /// Tokens to ask for at most.
    pub new_tokens: usize,
    /// How many of the likeliest tokens to ask for at each position.
    pub likeliest: usize,
    /// What isn't over by then, from the request's arrival on, has failed.
    pub within_ns: Nanos,
}

/// What the worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// Who the worker is.
    Hello(Hello),
    /// The model is ready.
    Loaded(Loaded),
    /// The generation is done.
    Generated(Generated),
    /// The conversation is over.
    Conversed(Conversed),
    /// The logits are written.
    Scored,
    /// The steps were taken.
    Trained(Trained),
    /// The requests came to their ends.
    Served(Served),
    /// The server generated.
    Logprobs(Logprobs),
    /// The product was timed.
    Probed {
        /// Time of one product, mean over the copies of the fastest turn.
        product_ns: Nanos,
    },
    /// The program ran.
    Tried {
        /// What came out.
        output: Tensor,
    },
    /// The request could not be met. The worker stays ready for others.
    Error {
        /// What kind of failure.
        kind: ErrorKind,
        /// What happened, in the framework's own words where it has some.
        message: String,
    },
}

/// A worker's introduction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol that the worker speaks.
    pub protocol: u32,
    /// Names and versions.
    pub identity: Identity,
    /// The devices of this machine, best first.
    pub devices: Vec<DeviceSupport>,
    /// The operations that [`Request::Try`] may name; none where the worker doesn't know this request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<String>,
}

/// A model is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// From the request to all weights on the device.
    pub load_ns: Nanos,
    /// CPU threads in effect.
    pub threads: usize,
    /// What a read of a token waits for.
    pub reads: Reads,
    /// Which of several ways of doing a part of the work was chosen, the part's name to the way's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, String>,
    /// How the model's numbers are kept; as the precision says where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

/// Steps that were taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// When the loss of each step could be read on the host, from the start of the first: all work of the step was
    /// done then, its update included.
    pub step_ns: Vec<Nanos>,
    /// The loss of each step before its update, in nats a token; `null` where it isn't finite.
    pub losses: Vec<Option<f32>>,
    /// For each step the L2 norms of the gradients, of `A` and of `B` for each adapter in the order of
    /// [`crate::lora::adapters`]; `null` where one isn't finite. Empty where they weren't asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gradient_norms: Vec<Vec<Option<f32>>>,
    /// Peak of the framework's device memory in this training, in bytes; null where it keeps no count.
    #[serde(default)]
    pub device_peak_bytes: Option<u64>,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// The new ids of each row.
    pub tokens: Vec<Vec<TokenId>>,
    /// When each was readable on the host, counted from the handing over of the prompt.
    pub token_ns: Vec<Nanos>,
    /// Whether the last position's logits were all finite.
    pub finite: bool,
    /// Whether steps were handed over ahead of the reads, or each token was read first.
    pub form: Mode,
    /// Peak of the framework's device memory in this generation, where it keeps count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_peak_bytes: Option<u64>,
}

/// What became of requests to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// As many as were asked for, in the order in which they were sent.
    pub requests: Vec<ServedRequest>,
}

/// What a server says of its generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// Tokens of the prompt, by the server's count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// One for each generated token.
    pub positions: Vec<NamedTokens>,
}

/// What a server says of a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedTokens {
    /// The token that it generated.
    pub chosen: NamedToken,
    /// The likeliest ones, that one among them or not.
    pub likeliest: Vec<NamedToken>,
}

/// A token as a server names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedToken {
    /// Its id, where the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TokenId>,
    /// Its text: that of the answer, or the vocabulary's word for it.
    pub text: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

/// A conversation that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversed {
    /// One for each prompt.
    pub turns: Vec<Turn>,
    /// Time to first token of the last prompt, read into an empty cache after all turns.
    pub cold_ttft_ns: Nanos,
    /// Whether the last logits of each turn were all finite.
    pub finite: bool,
    /// Whether steps were handed over ahead of the reads, or each token was read first.
    pub form: Mode,
    /// Peak of the framework's device memory over the conversation, where it keeps count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_peak_bytes: Option<u64>,
}

/// What kind of failure a worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request or the model folder is at fault.
    Invalid,
    /// The framework can't do this here.
    Unsupported,
    /// The framework failed.
    Failed,
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { .. } | Error::Model { .. } | Error::Invalid(_) => ErrorKind::Invalid,
            Error::Unsupported(_) => ErrorKind::Unsupported,
            Error::Framework(_) => ErrorKind::Failed,
        };
        Self::Error {
            kind,
            message: quotable(&error.to_string()),
        }
    }
}
