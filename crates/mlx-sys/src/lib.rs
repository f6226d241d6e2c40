//! mlx-c's bindings, for mlx-rs, against a prebuilt MLX. `build.rs` tells what is found where.
//!
//! Two things that mlx-rs takes for granted on Apple silicon are supplied elsewhere: the 16-bit
//! float types with their four accessors, which mlx-c declares on Arm only, and the clock that
//! seeds its random numbers.

// The bindings carry C's names and C's documentation.
#![expect(missing_docs, non_camel_case_types, non_upper_case_globals)]
#![expect(clippy::allow_attributes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg(not(target_arch = "aarch64"))]
mod half_types;
#[cfg(not(target_arch = "aarch64"))]
pub use half_types::*;

#[cfg(not(target_vendor = "apple"))]
mod clock;
