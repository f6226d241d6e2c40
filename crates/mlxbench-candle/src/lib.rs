//! The candle adapter: Gemma 1 to 4 against candle's tensor API, on the CPU and, through the
//! features `metal` and `cuda`, on GPUs. The feature `accelerate` puts Apple's BLAS under the CPU.
//!
//! | module | its subject |
//! |---|---|
//! | `backend` | what candle can do here: versions, devices, dtypes, threads |
//! | `weights` | from checkpoint tensors to candle's |
//! | `framework` | what the layers ask of candle beside their parts |
//! | `quantised` | weights as codes, in candle's blocks |
//! | `gguf` | blocks of a GGUF file, as they are |
//! | `linear` | products with a weight matrix |
//! | `norm`, `rope`, `cache`, `attention`, `mlp`, `experts` | the parts of a layer |
//! | `per_layer` | embeddings of tokens for each layer |
//! | `readback` | how tokens come to the host |
//! | `cuda` | with the feature `cuda`: what candle leaves to its user there |
//! | `train` | training of low-rank adapters, by backpropagation |
//! | `product` | a product alone, for probes |
//! | `attempt` | single operations, for the matrix of what works |
//! | `model` | the whole: embeddings, layers, output projection |
//! | `model::ops` | the model's ops alone, for `cargo bench --bench ops` |

mod attempt;
mod attention;
mod backend;
mod cache;
#[cfg(feature = "cuda")]
mod cuda;
mod experts;
mod framework;
mod gguf;
mod linear;
mod mlp;
mod model;
mod norm;
mod per_layer;
mod product;
mod quantised;
mod readback;
mod rope;
mod train;
mod weights;

pub use backend::{CandleBackend, device};
pub use model::{GemmaModel, Output, Session};
pub use product::Product;
