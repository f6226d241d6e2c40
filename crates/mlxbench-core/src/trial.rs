//! Small programs that tell which operations work on a device: one definition for all frameworks. A worker gets
//! a [`Program`] with its inputs and answers with what came out; the runner holds that against plain Rust in
//! f64. PROTOCOL.md has the request, `try`.
//!
//! | module | its subject |
//! |---|---|
//! | `tensor` | numbers with a shape, as they travel; the dtypes that are tried |
//! | `program` | the operations and what goes into them |
//! | `cases` | the rows of the matrix: programs with their inputs |
//! | `reference` | what should come out, and how far a dtype may be from it |
//! | `matrix` | what was found on a machine: a file |

mod cases;
mod matrix;
mod program;
mod reference;
mod tensor;

pub use cases::Case;
pub use matrix::{BackendTrials, Cell, DeviceTrials, MATRIX_SCHEMA, Matrix, Outcome};
pub use program::Program;
pub use reference::{Deviation, Expected, rope_tables};
pub use tensor::{ElementType, Numbers, Tensor};

#[cfg(test)]
mod tests;
