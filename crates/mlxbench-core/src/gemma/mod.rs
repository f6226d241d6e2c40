//! Gemma 1 to 4 text models: what every adapter needs to know and none should compute twice.

pub mod bounds;
mod bytes;
pub mod cache;
mod caches;
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
mod routes;
mod spec;
mod tensors;
pub mod train;
mod work;

pub(crate) use bytes::has_8_bits;
pub use bytes::{Activations, Storage};
pub use caches::LayerCaches;
pub use config::{GemmaConfig, Generation};
pub use decoder::Decoder;
pub use fact::Fact;
pub use flat::{FlatConfig, Gemma4};
pub use hf::ConfigFile;
pub use layer::Layer;
pub use presets::{PRESETS, Preset, preset};
pub use routes::{Route, routes};
pub use spec::{
    AttentionSpec, EXPERTS_NORMS, ExpertsSpec, KeysValues, LayerKind, LayerNorms, LayerSpec,
    NormSpec, PER_LAYER_NORM, PerLayerSpec, RopeSpec,
};
pub use tensors::{
    LayerNames, PER_LAYER_PROJECTION, PER_LAYER_PROJECTION_NORM, PER_LAYER_TABLE, TensorSpec,
    gguf_name,
};
