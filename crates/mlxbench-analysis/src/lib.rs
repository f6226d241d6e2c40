//! Statistics of results: pure functions of a [`RunResult`](mlxbench_core::results::RunResult).
//!
//! | module | its subject |
//! |---|---|
//! | [`change_points`](mod@change_points) | where a series changed its level |
//! | [`chat`] | conversations: their turns, and all kinds of them together |
//! | [`chips`] | the memory bandwidth that Apple publishes for its chips |
//! | [`comparison`] | what changed between two results, and a gate |
//! | [`conditions`] | the state of the devices meanwhile, and what was throttled |
//! | [`drift`] | which rows drifted, corrected for how many there are |
//! | [`equivalence`] | did a target do the same work as the reference? |
//! | [`evidence`] | what repetitions say of the ratios of many rows together |
//! | [`fingerprint`](mod@fingerprint) | may two results be compared? |
//! | [`history`](mod@history) | results over time |
//! | [`leader`] | which target is fastest, in each precision and of all, and how surely |
//! | [`likeliest`] | the same of a server, which tells a few probabilities |
//! | [`metrics`] | what each figure means, computed from raw timestamps |
//! | [`multiple`] | the level of each of many tests |
//! | [`outliers`] | samples far from the rest, flagged and kept |
//! | [`partings`] | where the tokens of timed tests part from the reference's |
//! | [`positions`] | where latency jumps along a generation |
//! | [`processes`] | figures over several worker processes, and how far these lie apart |
//! | [`quantisation`] | what quantising the weights costs |
//! | [`roofline`] | rates as shares of what the machine can do: MBU, MFU |
//! | [`serving`] | what clients of a server see |
//! | [`smooth`] | times along lengths: smooth, or with steps and spikes |
//! | [`stats`] | medians, quantiles, bootstrap intervals |
//! | [`summary`] | one row per target and test: what tables show |
//! | [`sweeps`] | tests that differ in one length, and jumps along them |
//! | [`training`] | did a target train as the reference did? |
//! | [`trend`] | did a figure drift while the run went on? |

pub mod change_points;
pub mod chat;
pub mod chips;
pub mod comparison;
pub mod conditions;
pub mod drift;
pub mod equivalence;
pub mod evidence;
pub mod fingerprint;
pub mod history;
pub mod leader;
pub mod likeliest;
pub mod metrics;
pub mod multiple;
pub mod outliers;
pub mod partings;
pub mod positions;
pub mod processes;
pub mod quantisation;
pub mod roofline;
pub mod serving;
pub mod smooth;
pub mod stats;
pub mod summary;
pub mod sweeps;
pub mod training;
pub mod trend;
mod variance;

pub use change_points::{ChangePoint, Pettitt, change_points, change_points_at};
pub use chat::{ChatFigures, Conversations, MemoryOf, TurnFigures, TurnMemory};
pub use chips::published_bandwidth;
pub use comparison::{
    Change, Compared, ComparedRow, Comparison, Gate, compare, compare_runs, compare_sides,
};
pub use conditions::{CaseConditions, Throttled};
pub use drift::{Drift, Drifting, drifts, machine_drift};
pub use fingerprint::{Difference, DifferenceKind, Fingerprint, differences, fingerprint};
pub use history::history;
pub use leader::{Lead, Leader, Rival, SetAside, Standings, Unfit, standings, unsteady_warmup};
pub use outliers::{Fences, Outlier, Outliers};
pub use positions::LatencyStep;
pub use processes::ProcessSpread;
pub use stats::{Estimate, Interval};
pub use summary::{InterToken, Row, RowStatus, Summary, summarize};
pub use sweeps::{Jump, Sweep};
pub use trend::{CommonTrend, Trend, lag_one_autocorrelation, theil_sen_slope};

#[cfg(test)]
mod fixture;
