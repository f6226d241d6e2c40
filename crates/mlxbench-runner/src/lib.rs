//! From a config to a result: plan, worker processes, journal, machine facts, memory.
//!
//! | module | its subject |
//! |---|---|
//! | [`baselines`] | results to compare later ones with, by machine and name |
//! | [`config`] | the TOML file, with errors that name line and nearest key |
//! | [`plan`] | config and model to tests, targets and prompts |
//! | [`fit`] | which models fit the memory |
//! | [`devices`] | why a device isn't there |
//! | [`prompt`] | token ids, made once for all workers |
//! | [`locate`] | where a backend's worker program is |
//! | [`interrupt`] | the user's wish that the run end |
//! | [`process`] | one worker process: requests, time-outs, last words |
//! | [`journal`] | every case on disk as it ends; resuming |
//! | [`execute`] | a run from its beginning to its end |
//! | [`event`] | what a run tells while it goes on |
//! | `rounds` | its heart: targets take turns until each test has been repeated enough |
//! | `paired` | two sides, until every row is decided |
//! | `schedule` | the order of turns in a round |
//! | `stop` | when a test has been repeated enough |
//! | `repetition` | one case: warm-up, and a repetition with all that is measured beside it |
//! | `standing` | which repetitions are measured, and which are measured again |
//! | `equivalence` | the check of every target before it is timed |
//! | `logprobs` | the check of servers, by the log-probabilities that they tell |
//! | `quantisation` | what quantised weights cost |
//! | `partings` | the check of timed tokens |
//! | `roofline`, `stream` | how fast devices and memory can be |
//! | `scratch` | folders for temporary files |
//! | `power` | what a device spent and told during a repetition, and what it draws when idle |
//! | [`share`] | results for others, without names and paths |
//! | `throttle` | which repetitions are marked as throttled, and measured again |
//! | [`trials`] | which operations work on a backend's devices |
//! | [`system`] | the machine: facts, conditions, energy, a process's memory, the lock |

pub mod baselines;
pub mod bundled;
mod checks;
pub mod config;
mod conversation;
pub mod devices;
mod equivalence;
mod error;
pub mod event;
pub mod execute;
pub mod fit;
pub mod interrupt;
pub mod journal;
pub mod locate;
mod logprobs;
mod paired;
mod partings;
pub mod plan;
mod power;
pub mod process;
pub mod prompt;
mod quantisation;
mod repetition;
mod roofline;
mod rounds;
mod schedule;
mod scratch;
pub mod script;
pub mod share;
mod standing;
mod stop;
mod stream;
pub mod system;
mod throttle;
pub mod trials;
mod work;

pub use error::{Error, Result};

/// Cases of a fuzz test: a modest number at every change, `MLXBENCH_FUZZ_CASES` by hand.
#[cfg(test)]
pub(crate) fn fuzz_cases() -> u32 {
    let asked = std::env::var("MLXBENCH_FUZZ_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(256)
}
