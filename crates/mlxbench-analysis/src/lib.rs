//! Statistics of results: pure functions of a [`RunResult`](mlxbench_core::results::RunResult).
//!
//! | module | its subject |
//! |---|---|
//! | [`metrics`] | what each figure means, computed from raw timestamps |
//! | [`stats`] | medians, quantiles, bootstrap intervals |
//! | [`summary`] | one row per target and test: what tables show |

pub mod metrics;
pub mod stats;
pub mod summary;

pub use metrics::{Better, Metric};
pub use stats::{Estimate, Interval};
pub use summary::{InterToken, Row, RowStatus, Summary, summarize};

#[cfg(test)]
mod fixture;
