//! The contract of mlxbench.
//!
//! Everything that the adapters, the runner and the reports must agree on lives here, and nothing
//! else does: no machine-learning framework, no command line.
//!
//! | module | its subject |
//! |---|---|
//! | [`backend`] | the traits that an adapter implements: [`Backend`], [`Model`] |
//! | [`gemma`] | Gemma 1 to 4: configuration, presets, tensors, RoPE, masks, KV cache arithmetic, bytes and operations |
//! | [`checkpoint`] | memory-mapped safetensors in the Hugging Face layout, checked before use |
//! | [`quantise`] | weight matrices as codes with scales, the same in every framework |
//! | [`generate`] | the one generation loop: prefill, decode, pipelining, timestamps |
//! | [`trial`] | small programs that tell which operations work on a device |
//! | [`probe`] | the timing of single products: how fast a device can be |
//! | [`score`] | teacher forcing: logits over a given text |
//! | [`logits_file`] | logits on disk |
//! | [`lora`] | fine-tuning with low-rank adapters: what is trained, from which numbers, by which update |
//! | [`protocol`] | the JSON lines between runner and worker (see PROTOCOL.md) |
//! | [`worker`] | [`worker::serve`], the whole `main` of an adapter's worker |
//! | [`mock`] | a backend with scripted timings and faults, on a virtual clock |
//! | [`results`] | what a run leaves behind: journal records and the result file |
//! | [`limits`] | how far numbers from configs, files and workers are believed |
//! | [`text`] | words of others, fit for messages and terminals |

pub mod backend;
pub mod checkpoint;
pub mod clock;
pub mod converse;
mod error;
pub mod gemma;
pub mod generate;
pub mod limits;
pub mod logits_file;
pub mod lora;
pub mod mock;
mod numbers;
mod placement;
mod precision;
pub mod probe;
mod product;
pub mod protocol;
pub mod quantise;
pub mod results;
pub mod score;
pub mod text;
mod tokens;
pub mod train;
pub mod trial;
mod units;
pub mod worker;

pub use backend::{Backend, Model};
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use gemma::GemmaConfig;
pub use numbers::{numbers, seed_of};
pub use placement::{Device, Dtype, Placement};
pub use precision::{Precision, Scheme, WeightFormat};
pub use tokens::{TokenBatch, TokenId};
pub use units::Nanos;

/// Cases of a fuzz test: a modest number at every change, `MLXBENCH_FUZZ_CASES` by hand.
#[cfg(test)]
pub(crate) fn fuzz_cases() -> u32 {
    let asked = std::env::var("MLXBENCH_FUZZ_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(256)
}
