//! What the tests of every adapter run, and no program links.
//!
//! | module | its subject |
//! |---|---|
//! | [`golden`] | tiny Gemmas whose logits Hugging Face transformers computed |
//! | [`ops`] | every op of `mlxbench-ops` once |
//! | [`timing`] | what a token's time may hold |

pub mod golden;
pub mod ops;
pub mod timing;

pub use golden::Golden;
