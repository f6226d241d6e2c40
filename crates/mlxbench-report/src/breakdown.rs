//! Where the time of a pass goes: what an adapter's `ops` benchmark measured, op by op, read from what
//! it and criterion leave behind.

use std::io;

use mlxbench_analysis::{Estimate, Interval};
use mlxbench_ops::{MeasuredOp, OpsFile, Phase, SCHEMA};
use serde::Deserialize;

/// An `ops` benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// The file, as the user named it.
    pub file: String,
    about: OpsFile,
    /// One an op of `about`.
    times: Vec<Estimate>,
}

/// A benchmark that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BreakdownError {
    /// It was written by another version.
    #[error("{file}: it has schema {found}, this mlxbench reads {SCHEMA}: run the benchmark again")]
    Schema {
        /// The file.
        file: String,
        /// Its schema.
        found: u32,
    },
    /// It isn't what a benchmark writes.
    #[error("{file}: {reason}: let `cargo bench --bench ops` write it again")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong.
        reason: serde_json::Error,
    },
    /// criterion's file of an op is gone.
    #[error("{file}: {estimates}: {reason}: keep it beside criterion's folders")]
    Estimates {
        /// The file.
        file: String,
        /// What is missing, from criterion's folder.
        estimates: String,
        /// The operating system's reason.
        reason: io::Error,
    },
}

/// What of criterion's `estimates.json` is read, in nanoseconds.
#[derive(Deserialize)]
struct Estimates {
    median: CriterionEstimate,
}

#[derive(Deserialize)]
struct CriterionEstimate {
    point_estimate: f64,
    confidence_interval: ConfidenceInterval,
}

#[derive(Deserialize)]
struct ConfidenceInterval {
    lower_bound: f64,
    upper_bound: f64,
}

impl Breakdown {
    /// Reads the file that an `ops` benchmark wrote; `None` when it is something else. `read` is given paths
    /// in criterion's folder, where the file's own folder lies.
    ///
    /// # Errors
    /// When the file is of another version or broken, or criterion's files aren't there.
    pub fn read(
        file: &str,
        bytes: &[u8],
        read: impl Fn(&str) -> io::Result<Vec<u8>>,
    ) -> Result<Option<Self>, BreakdownError> {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "that it is there tells what the file is")]
        struct Looks {
            schema: u32,
            decode_depth: usize,
            ops: serde::de::IgnoredAny,
        }
        let Ok(looks) = serde_json::from_slice::<Looks>(bytes) else {
            return Ok(None);
        };
        let file = file.to_owned();
        if looks.schema != SCHEMA {
            let found = looks.schema;
            return Err(BreakdownError::Schema { file, found });
        }
        let malformed = |reason| BreakdownError::Malformed {
            file: file.clone(),
            reason,
        };
        let about: OpsFile = serde_json::from_slice(bytes).map_err(malformed)?;
        let time = |op: &MeasuredOp| {
            let estimates = format!("{}/new/estimates.json", op.criterion);
            let bytes = read(&estimates).map_err(|reason| BreakdownError::Estimates {
                file: file.clone(),
                estimates: estimates.clone(),
                reason,
            })?;
            let Estimates { median } = serde_json::from_slice(&bytes).map_err(malformed)?;
            let ConfidenceInterval {
                lower_bound: low,
                upper_bound: high,
            } = median.confidence_interval;
            Ok(Estimate {
                median: median.point_estimate,
                interval: Some(Interval { low, high }),
                // criterion counts its samples in another file, and nobody here asks.
                n: 0,
            })
        };
        let times = about.ops.iter().map(time).collect::<Result<_, _>>()?;
        Ok(Some(Self { file, about, times }))
    }

    /// `candle/cpu/f32`.
    pub(crate) fn target(&self) -> String {
        let OpsFile {
            identity,
            device,
            precision,
            ..
        } = &self.about;
        format!("{}/{device}/{precision}", identity.backend)
    }

    /// The backend's name.
    pub(crate) fn backend(&self) -> &str {
        &self.about.identity.backend
    }

    /// The model and what a pass of `phase` does.
    pub(crate) fn pass(&self, phase: Phase) -> String {
        let about = &self.about;
        match phase {
            Phase::Prefill => format!("{}, {} tokens", about.model, about.prefill_tokens),
            Phase::Decode => format!("{}, depth {}", about.model, about.decode_depth),
        }
    }

    /// The ops of `phase` that aren't made of others, each with the time that one pass spends in
    /// it, in nanoseconds.
    pub(crate) fn parts(&self, phase: Phase) -> impl Iterator<Item = (&MeasuredOp, Estimate)> {
        let ops = self.about.ops.iter().zip(&self.times);
        ops.filter(move |(op, _)| op.phase == phase && !op.composite)
            .map(|(op, time)| (op, time.scaled(op.occurrences as f64)))
    }

    /// What all parts of a pass take together, in nanoseconds.
    pub(crate) fn total(&self, phase: Phase) -> f64 {
        self.parts(phase).map(|(_, time)| time.median).sum()
    }
}
