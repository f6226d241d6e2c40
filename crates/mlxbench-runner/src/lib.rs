//! From a config to a result: plan, worker processes, journal, machine facts, memory.
//!
//! | module | its subject |
//! |---|---|
//! | [`config`] | the TOML file, with errors that name line and nearest key |
//! | [`plan`] | config and model to tests, targets and prompts |
//! | [`prompt`] | token ids, made once for all workers |
//! | [`schedule`] | the order of repetitions: interleaved over targets |
//! | [`locate`] | where a backend's worker program is |
//! | [`interrupt`] | the user's wish that the run end |
//! | [`process`] | one worker process: requests, time-outs, last words |
//! | [`journal`] | every case on disk as it ends; resuming |
//! | [`execute`] | the run itself |
//! | `equivalence` | the check of every target before it is timed |
//! | [`system`] | the machine: facts, conditions, energy, a process's memory, the lock |

pub mod config;
mod equivalence;
mod error;
pub mod execute;
pub mod interrupt;
pub mod journal;
pub mod locate;
pub mod plan;
pub mod process;
pub mod prompt;
pub mod schedule;
pub mod system;

pub use error::{Error, Result};
