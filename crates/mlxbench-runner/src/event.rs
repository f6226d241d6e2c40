//! What a run tells while it goes on.

use std::path::Path;

use mlxbench_core::results::Failure;

/// What happens, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run starts.
    Started {
        /// Where every case is kept.
        journal: &'a Path,
    },
    /// So many repetitions are planned, or more than were planned before.
    Planned(usize),
    /// Something that the user should know of.
    Warning(&'a str),
    /// The machine's own speed is measured.
    Probing(&'a str),
    /// A worker loads its model.
    Loading(&'a str),
    /// A target is compared with the reference.
    Checking(&'a str),
    /// A repetition or warm-up starts.
    Step(String),
    /// A repetition ended, well or not, or is not needed.
    StepDone,
    /// Something could not be measured.
    Failed(&'a Failure),
}
