//! What an adapter implements.

use mlxbench_core::{Model, Result};

use crate::Op;

/// A model whose ops can be run alone, by the code and on the weights that a pass runs.
pub trait Ops: Model {
    /// An op with its input on the device.
    type Prepared<'a>: Prepared
    where
        Self: 'a;

    /// Makes random input for `op` and, where it [has a context](crate::Part::has_context), a KV
    /// cache with [`Op::history`] in it.
    ///
    /// # Errors
    /// When the framework fails.
    fn prepare(&mut self, op: &Op) -> Result<Self::Prepared<'_>>;
}

/// An op that is ready to run, over and over on the same input. Runs may be asynchronous: only
/// [`Prepared::wait`] and [`Prepared::output`] have to wait for them.
pub trait Prepared {
    /// Runs the op once, with the weights of the next of [`Op::layers`].
    ///
    /// # Errors
    /// When the framework fails.
    fn run(&mut self) -> Result<()>;

    /// Waits until the device has done all runs.
    ///
    /// # Errors
    /// When the framework fails.
    fn wait(&mut self) -> Result<()>;

    /// Brings what came out of the last run to the host as f32, several tensors behind one another.
    /// Nothing before the first run.
    ///
    /// # Errors
    /// When the framework fails.
    fn output(&mut self) -> Result<Vec<f32>>;
}
