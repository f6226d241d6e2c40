//! A client of OpenAI-compatible servers that measures what its users see: when the first text is there, how fast the
//! rest follows, for several of them at once.
//!
//! | module | its subject |
//! |---|---|
//! | [`endpoint`] | which server, which model, what is sent |
//! | [`answer`] | a streamed answer: its pieces, its counts, its end |
//! | `events` | server-sent events |
//! | `logprobs` | how likely a server found the tokens of its answer |
//! | `fault` | what went wrong, in words that say what to do |
//! | [`prompts`] | prompts that no cache has seen, of a wanted length by the server's own count |
//! | [`clients`] | requests, so many at a time |
//! | [`worker`] | the worker protocol |

pub mod answer;
pub mod clients;
pub mod endpoint;
mod events;
mod fault;
mod logprobs;
pub mod prompts;
pub mod worker;
