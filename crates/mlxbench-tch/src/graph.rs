//! CUDA graphs: work that is recorded once and handed over whole from then on.

use mlxbench_core::{Error, Result};
use tch::Device;

/// Whether this build can record: the cargo feature `cuda`.
pub(crate) const AVAILABLE: bool = cfg!(feature = "cuda");

#[cfg(feature = "cuda")]
pub(crate) use recorded::Graph;

/// No graph is ever made.
#[cfg(not(feature = "cuda"))]
#[derive(Debug)]
pub(crate) enum Graph {}

#[cfg(not(feature = "cuda"))]
impl Graph {
    pub(crate) fn record<T>(_: Device, _: impl FnMut() -> Result<T>) -> Result<(Self, T)> {
        Err(failed("record: this build is without CUDA"))
    }

    pub(crate) fn replay(&self) -> Result<()> {
        match *self {}
    }
}

fn failed(what: &str) -> Error {
    Error::Framework(format!("a CUDA graph can't {what}"))
}

#[cfg(feature = "cuda")]
mod recorded {
    use std::ffi::{c_int, c_void};
    use std::ptr;

    use super::*;

    unsafe extern "C" {
        fn mlxbench_torch_graph_aside(device: i64, graph: *mut *mut c_void) -> c_int;
        fn mlxbench_torch_graph_begin(graph: *mut c_void) -> c_int;
        fn mlxbench_torch_graph_end(graph: *mut c_void) -> c_int;
        fn mlxbench_torch_graph_replay(graph: *mut c_void) -> c_int;
        fn mlxbench_torch_graph_drop(graph: *mut c_void);
    }

    /// A recording. What it reads and writes must outlive it.
    #[derive(Debug)]
    pub(crate) struct Graph(*mut c_void);

    impl Graph {
        /// Runs `work` once on a stream of its own, so that nothing is left to set up, and then again to
        /// record it, which does none of it. What the recording gives holds the graph's results.
        pub(crate) fn record<T>(
            device: Device,
            mut work: impl FnMut() -> Result<T>,
        ) -> Result<(Self, T)> {
            let Device::Cuda(index) = device else {
                return Err(failed("be recorded on another device"));
            };
            let mut graph = ptr::null_mut();
            // SAFETY: the shim writes what it made, as in all that follows it catches what libtorch throws.
            let aside = unsafe { mlxbench_torch_graph_aside(index as i64, &mut graph) };
            if aside != 0 {
                return Err(failed("have a stream of its own"));
            }
            // Dropped, it ends a recording that failed.
            let graph = Self(graph);
            drop(work()?);
            // SAFETY: the graph is alive.
            if unsafe { mlxbench_torch_graph_begin(graph.0) } != 0 {
                return Err(failed("begin to record"));
            }
            let results = work()?;
            // SAFETY: the graph is alive.
            match unsafe { mlxbench_torch_graph_end(graph.0) } {
                0 => Ok((graph, results)),
                _ => Err(failed("take what was recorded")),
            }
        }

        /// Hands over all of it, behind what is queued.
        pub(crate) fn replay(&self) -> Result<()> {
            // SAFETY: the graph is alive, and whoever has it keeps what it reads and writes.
            match unsafe { mlxbench_torch_graph_replay(self.0) } {
                0 => Ok(()),
                _ => Err(failed("be replayed")),
            }
        }
    }

    impl Drop for Graph {
        fn drop(&mut self) {
            // SAFETY: made by the shim, and nobody else has it.
            unsafe { mlxbench_torch_graph_drop(self.0) }
        }
    }
}
