//! Where models come from, and what is in them.
//!
//! | module | its subject |
//! |---|---|
//! | [`source`] | a model by its name: a folder, `hf:owner/name`, `synthetic:PRESET` |
//! | [`hub`] | the Hugging Face hub |
//! | [`synth`] | random weights in a real Gemma's shapes |
//! | [`progress`] | how far a model is that is being made |
//! | [`mod@write`] | a model folder written tensor by tensor, whole or not at all |
//! | [`describe`] | what `mlxbench model show` tells |
//! | [`cache`] | the user's folder for models that mlxbench made |

pub mod cache;
pub mod describe;
mod error;
pub mod hub;
mod partial;
pub mod progress;
pub mod source;
pub mod synth;
pub mod write;

pub use error::{Error, Result};
