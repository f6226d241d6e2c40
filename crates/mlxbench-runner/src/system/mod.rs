//! The machine: what it is, and what a process has used. The only place that knows operating
//! systems apart.

mod machine;
mod memory;

pub use machine::{cores, machine};
pub use memory::peak_memory_bytes;
