//! Tiny GGUF files, made here from random weights: what is in them comes back, and what is wrong
//! with them is told.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod fixture;
mod fuzz;
mod header;
mod import;
mod keys;
mod split;
mod tokenizer;
mod writer;
