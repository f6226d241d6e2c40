//! What a run tells while it goes on.

use std::path::Path;
use std::time::Duration;

use mlxbench_analysis::ComparedRow;
use mlxbench_core::results::{Failure, Sample};

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
    /// The reference is asked for what targets are compared with: for what.
    Asking(&'a str),
    /// A target is compared with the reference.
    Checking {
        /// Which.
        target: &'a str,
        /// Which of those that are compared, counted from 1.
        at: usize,
        /// How many are.
        of: usize,
    },
    /// A repetition or warm-up starts.
    Step(String),
    /// A repetition was measured, and counts unless it was throttled.
    Measured(&'a Sample),
    /// A repetition ended, well or not, or is not needed.
    StepDone,
    /// A repetition was throttled.
    Throttled {
        /// Which: `candle/cuda/bf16 pp64+tg16 2/5`.
        case: &'a str,
        /// Why it is marked.
        why: &'a str,
        /// The rest after which it is measured again; `None` when it isn't.
        again_after: Option<Duration>,
    },
    /// The rows of two sides were looked at.
    Looked(&'a Progress<'a>),
    /// Something could not be measured.
    Failed(&'a Failure),
}

/// How near two sides are to being decided.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Rounds so far.
    pub rounds: usize,
    /// Rows that are decided.
    pub decided: usize,
    /// All rows.
    pub rows: usize,
    /// Of the others the one with the widest interval.
    pub widest: Option<&'a ComparedRow>,
}
