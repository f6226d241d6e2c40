//! The MLX adapter: Gemma 1 to 4 through mlx-rs, on the CPU and on the GPU that the loaded MLX
//! library is made for (Metal on Apple silicon, CUDA on NVIDIA). Which one that is, only the
//! library knows: the code is the same.
//!
//! | module | its subject |
//! |---|---|
//! | `backend` | what MLX can do here: version, devices, dtypes |
//! | `devices` | the devices of the loaded library, by name |
//! | `environment` | what has to be set before MLX starts |
//! | `blas` | the BLAS under MLX's CPU backend: which one, how many threads, OpenBLAS in its place |
//! | `weights` | from checkpoint tensors to MLX's |
//! | `quantised` | weights as codes: layout, product, lookup |
//! | `fused` | chains of element-wise operations, compiled to one kernel where MLX can |
//! | `framework` | what the layers ask of MLX beside their parts |
//! | `linear` | products with a weight matrix |
//! | `norm`, `rope`, `cache`, `attention`, `mlp`, `experts` | the parts of a layer |
//! | `per_layer` | embeddings of tokens for each layer |
//! | `train` | training of low-rank adapters, by `value_and_grad` |
//! | `product` | a product alone, for probes |
//! | `attempt` | single operations, for the matrix of what works |
//! | `model` | the whole: embeddings, layers, output projection |
//! | `model::ops` | the model's ops alone, for `cargo bench --bench ops` |

mod attempt;
mod attention;
mod backend;
mod blas;
mod cache;
mod devices;
mod environment;
mod experts;
mod framework;
mod fused;
mod linear;
mod mlp;
mod model;
mod norm;
mod per_layer;
mod product;
mod quantised;
mod rope;
mod train;
mod weights;

pub use backend::MlxBackend;
pub use environment::prepare;
pub use model::{GemmaModel, Output, Session};
pub use product::Product;
