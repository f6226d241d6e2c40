//! What became of requests to a server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Nanos;

/// A request to a server, as its client saw it. All times are counted from the start of the repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServedRequest {
    /// When it was sent: connecting is part of what follows.
    pub start_ns: Nanos,
    /// When the first byte of the answer's body was there: a comment or a role, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ns: Option<Nanos>,
    /// When each piece of text was there. A piece may hold several tokens, or a part of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunk_ns: Vec<Nanos>,
    /// When the chunk that says why the server stopped was there. Where a stop token ended the answer, that is the
    /// time of this token, which has no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_ns: Option<Nanos>,
    /// When the answer was over: what comes after its text, such as the counts, is there, too.
    pub end_ns: Nanos,
    /// Tokens of the prompt, by the server's count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens generated, by the server's count; never the number of chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    /// Tokens of the prompt that the server took from a cache, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Why the server stopped: `length`, `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Why it failed, where it did: none of its times counts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ServedRequest {
    /// When the first piece of text was there.
    pub fn first_content_ns(&self) -> Option<Nanos> {
        self.chunk_ns.first().copied()
    }
}
