//! Gemma 1, 2 and 3 text models: what every adapter needs to know and none should compute twice.

pub mod bounds;
mod bytes;
pub mod cache;
mod config;
mod fact;
pub(crate) mod hf;
pub mod mask;
mod presets;
pub mod rope;
mod tensors;
mod work;

pub use config::{GemmaConfig, Generation, LayerKind};
pub use fact::Fact;
pub use hf::ConfigFile;
pub use presets::{PRESETS, Preset, preset};
pub use tensors::{TensorSpec, layer_tensor};
