//! Hugging Face's `config.json`, read and written.
//!
//! | module | its subject |
//! |---|---|
//! | `read` | from the file's keys to a [`GemmaConfig`](crate::GemmaConfig) and the facts behind it |
//! | `keys` | one JSON object: spellings of a key, types, which keys were used |
//! | `layers` | `layer_types`, patterns, windows |
//! | `gemma4` | what Gemma 4 alone has |
//! | `rope` | RoPE's old and new keys |
//! | `defaults` | what the reference classes assume |
//! | `unused` | keys that change nothing, listed; all others are refused |
//! | `mlx` | matrices packed as mlx-lm packs them |
//! | `quantised` | formats that can't be run, by their names |
//! | `write` | a configuration as a file that transformers and mlx-lm read |

mod defaults;
mod gemma4;
mod keys;
mod layers;
pub(crate) mod mlx;
pub(crate) mod quantised;
mod read;
mod rope;
mod unused;
mod write;

pub use read::ConfigFile;
pub(crate) use read::{HeadFlag, head_fact};
