//! Gemma 1, 2 and 3 text models: what every adapter needs to know and none should compute twice.

pub mod bounds;
mod bytes;
pub mod cache;
mod config;
mod decoder;
mod fact;
mod flat;
pub(crate) mod hf;
mod layer;
pub mod parts;
pub mod pass;
mod presets;
pub mod rope;
mod spec;
mod tensors;
mod work;

pub(crate) use bytes::is_table;
pub use bytes::{Activations, Storage};
pub use config::{GemmaConfig, Generation};
pub use decoder::Decoder;
pub use fact::Fact;
pub use flat::FlatConfig;
pub use hf::ConfigFile;
pub use layer::Layer;
pub use presets::{PRESETS, Preset, preset};
pub use spec::{AttentionSpec, KeysValues, LayerKind, LayerNorms, LayerSpec, RopeSpec};
pub use tensors::{LayerNames, TensorSpec, gguf_name};
