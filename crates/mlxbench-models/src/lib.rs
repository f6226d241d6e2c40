//! Where models come from, and what is in them.
//!
//! | module | its subject |
//! |---|---|
//! | [`source`] | a model by its name: a folder, `hf:owner/name`, `gguf:FILE`, `synthetic:PRESET` |
//! | [`hub`] | the Hugging Face hub |
//! | [`gguf`] | GGUF files, imported to the cache |
//! | [`synth`] | random weights in a real Gemma's shapes |
//! | [`progress`] | how far a model is that is being made |
//! | [`mod@write`] | a model folder written tensor by tensor, whole or not at all |
//! | [`describe`] | what `mlxbench model show` tells |
//! | [`disk`] | room on disks |
//! | [`program`] | programs that mlxbench starts |
//! | [`cache`] | the user's folder for models that mlxbench made |

pub mod cache;
pub mod describe;
pub mod disk;
mod error;
pub mod gguf;
pub mod hub;
mod partial;
pub mod program;
pub mod progress;
pub mod source;
pub mod synth;
pub mod write;

pub use error::{Error, Result};
