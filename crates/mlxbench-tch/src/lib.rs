//! The PyTorch adapter: Gemma 1 to 4 against libtorch's tensor API, on the CPU, on Apple GPUs
//! through MPS and on NVIDIA GPUs through CUDA, by device name.
//!
//! | module | its subject |
//! |---|---|
//! | `backend` | what libtorch can do here: versions, devices, dtypes, threads |
//! | `weights` | from checkpoint tensors to libtorch's |
//! | `framework` | what the layers ask of libtorch beside their parts |
//! | `linear` | products with a weight matrix |
//! | `quantised` | matrices of codes with scales, and their products, tried before they are used |
//! | `norm`, `rope`, `cache`, `attention`, `mlp`, `experts` | the parts of a layer |
//! | `per_layer` | embeddings of tokens for each layer |
//! | `forms`, `flash`, `mask` | the forms in which attention is computed |
//! | `kernels` | which of them are right here, tried at load |
//! | `train` | training of low-rank adapters, by autograd |
//! | `product` | a product alone, for probes |
//! | `attempt` | single operations, for the matrix of what works |
//! | `network` | the whole: embeddings, layers, output projection |
//! | `step` | a step whose position and lengths are on the device |
//! | `graph`, `replays` | CUDA graphs, and decode by their replay |
//! | `model` | the whole as the generation loop knows it |
//! | `model::ops` | the model's ops alone, for `cargo bench --bench ops` |
//! | `readback` | tokens on their way to the host |
//! | `inference` | libtorch's inference mode |
//! | `shim` | what libtorch can tell and tch doesn't ask |

mod attempt;
mod attention;
mod backend;
mod cache;
mod experts;
mod flash;
mod forms;
mod framework;
mod graph;
mod inference;
mod kernels;
mod linear;
mod mask;
mod mlp;
mod model;
mod network;
mod norm;
mod per_layer;
mod product;
mod quantised;
mod readback;
mod replays;
mod rope;
mod shim;
mod step;
mod train;
mod weights;

pub use backend::TchBackend;
pub use model::{GemmaModel, Output, Session};
pub use product::Product;
