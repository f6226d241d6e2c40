//! Targets: what is measured.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{Identity, Reads};
use crate::gemma::Storage;
use crate::{Error, Nanos, Placement};

/// Backend x device x precision, the number of threads where a config compares several, and the side where
/// a run compares two workers: `candle/cpu/f32`, `mlx/gpu/q4-bf16`,
/// `candle/cpu/f32/t1`, `candle/cpu/f32@b`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct TargetId {
    /// The backend's name.
    pub backend: String,
    /// Device and precision.
    pub placement: Placement,
    /// CPU threads asked for, where they differ from the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
    /// Which of two workers that the run compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
}

/// One of two workers for the same targets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What is compared with.
    A,
    /// What is compared.
    B,
}

impl Side {
    /// Both, in their order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The letter for names.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl FromStr for TargetId {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let malformed = || Error::Invalid(format!("`{s}`: write BACKEND/DEVICE/DTYPE"));
        let (target, side) = match s.rsplit_once('@') {
            None => (s, None),
            Some((target, "a")) => (target, Some(Side::A)),
            Some((target, "b")) => (target, Some(Side::B)),
            Some(_) => return Err(malformed()),
        };
        let mut parts = target.split('/');
        let mut part = || parts.next().ok_or_else(malformed);
        let (backend, device, precision) = (part()?, part()?, part()?);
        let threads = parts.next().map(|part| {
            let count = part.strip_prefix('t').and_then(|count| count.parse().ok());
            count.ok_or_else(malformed)
        });
        if parts.next().is_some() {
            return Err(malformed());
        }
        if backend.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            backend: backend.into(),
            placement: Placement {
                device: device.parse()?,
                precision: precision.parse()?,
            },
            threads: threads.transpose()?,
            side,
        })
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.backend, self.placement)?;
        if let Some(threads) = self.threads {
            write!(f, "/t{threads}")?;
        }
        match self.side {
            Some(side) => write!(f, "@{}", side.name()),
            None => Ok(()),
        }
    }
}

/// What a worker said of itself once its model was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetFacts {
    /// Which target.
    pub id: TargetId,
    /// Names and versions.
    pub identity: Identity,
    /// What the device is, where the framework says.
    pub device_description: Option<String>,
    /// CPU threads in effect.
    pub threads: usize,
    /// What a read of a token waits for; absent in older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Reads>,
    /// Which of several ways of doing a part of the work was chosen when the model was loaded: the part's
    /// name (`attention`) to the way's (`flash`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, String>,
    /// How the model's numbers are kept; as the precision says where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Load times, one a process.
    pub load_ns: Vec<Nanos>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_it_is_written() {
        for name in [
            "candle/cpu/f32",
            "tch/cuda:1/bf16",
            "tch/cuda:1+graph/bf16@b",
            "candle/cpu/f32/t3",
            "candle/cpu/f32/t3@b",
            "mlx/gpu/q4-bf16/t3@a",
        ] {
            assert_eq!(name.parse::<TargetId>().unwrap().to_string(), name);
        }
        for name in [
            "candle",
            "candle/cpu",
            "/cpu/f32",
            "candle/cpu/f32/3",
            "a/cpu/f32/t0",
            "a/cpu/f32@c",
        ] {
            assert!(name.parse::<TargetId>().is_err(), "{name} was taken");
        }
    }
}
