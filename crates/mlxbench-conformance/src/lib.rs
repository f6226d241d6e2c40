//! What the tests of every adapter run, and no program links.
//!
//! | module | its subject |
//! |---|---|
//! | [`golden`] | tiny Gemmas whose logits Hugging Face transformers computed |
//! | [`lora`] | LoRA steps against those of PyTorch's autograd through transformers |
//! | [`masks`] | masks written out by hand |
//! | [`rewind`] | models that go back and on, against models that never went further |
//! | [`per_layer`] | the table of per-layer embeddings on the CPU, against the same on the device |
//! | [`ops`] | every op of `mlxbench-ops` once |
//! | [`trials`] | every operation of the matrix once |
//! | [`refusals`] | what a backend says that it can't do |
//! | [`timing`] | what a token's time may hold |

pub mod golden;
pub mod lora;
pub mod masks;
pub mod ops;
pub mod per_layer;
pub mod refusals;
pub mod rewind;
pub mod timing;
pub mod trials;

pub use golden::Golden;
