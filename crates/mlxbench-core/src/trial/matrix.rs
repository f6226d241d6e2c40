//! What was found on a machine: the file that `mlxbench ops --format json` prints.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::Deviation;
use super::tensor::ElementType;
use crate::Device;
use crate::backend::Identity;
use crate::results::{Harness, Machine};

/// The version of [`Matrix`] as a file.
pub const MATRIX_SCHEMA: u32 = 1;

/// Which operations work on a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// [`MATRIX_SCHEMA`].
    pub ops_schema_version: u32,
    /// When it was tried.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// By which build.
    pub mlxbench: Harness,
    /// Where.
    pub machine: Machine,
    /// The backends that were asked.
    pub backends: Vec<BackendTrials>,
}

/// What a backend can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendTrials {
    /// Its name: `tch`.
    pub backend: String,
    /// Framework and libraries, with versions, where its worker started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Why nothing was tried: there is no worker, or it doesn't know how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
    /// Device by device.
    pub devices: Vec<DeviceTrials>,
}

/// What a backend can do on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceTrials {
    /// The device: `mps`.
    pub device: Device,
    /// What it is, where the framework says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The cells, row by row.
    pub cells: Vec<Cell>,
}

/// An operation in a dtype.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// The row: `cumsum`.
    pub op: String,
    /// The dtype.
    pub dtype: ElementType,
    /// What was found.
    pub outcome: Outcome,
}

/// What became of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// All numbers are as near as the dtype allows.
    Ok {
        /// The one that is furthest off.
        furthest: Deviation,
    },
    /// Some aren't.
    Wrong {
        /// What is wrong, in words.
        message: String,
        /// The number that is furthest off, where the shape is right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        furthest: Option<Deviation>,
    },
    /// The framework can't: its words.
    Missing {
        /// The words.
        message: String,
    },
    /// The process died, or didn't answer in time.
    Crashes {
        /// How, with its last words.
        message: String,
    },
    /// The worker doesn't know this operation.
    Unknown,
}

impl Outcome {
    /// Its word in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Wrong { .. } => "wrong",
            Self::Missing { .. } => "missing",
            Self::Crashes { .. } => "crashes",
            Self::Unknown => "unknown",
        }
    }

    /// What there is to say; nothing of what works.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Ok { .. } => None,
            Self::Wrong { message, .. } | Self::Missing { message } | Self::Crashes { message } => {
                Some(message)
            }
            Self::Unknown => Some("the worker doesn't know this operation"),
        }
    }
}

impl Matrix {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it is none of these.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let version = value.get("ops_schema_version");
        match version.and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(MATRIX_SCHEMA) => {
                serde_json::from_value(value).map_err(|error| error.to_string())
            }
            Some(version) => Err(format!(
                "its ops_schema_version is {version}, and this mlxbench reads {MATRIX_SCHEMA}: try again with one \
                 build on all machines"
            )),
            None => Err(
                "not what `mlxbench ops --format json` prints: it has no ops_schema_version".into(),
            ),
        }
    }

    /// All cells with their backend and device.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &Device, &Cell)> {
        let devices = self.backends.iter().flat_map(|backend| {
            let devices = backend.devices.iter();
            devices.map(|device| (backend.backend.as_str(), device))
        });
        devices
            .flat_map(|(backend, of)| of.cells.iter().map(move |cell| (backend, &of.device, cell)))
    }

    /// How many cells there are of each outcome, by its name.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (_, _, cell) in self.cells() {
            *counts.entry(cell.outcome.name()).or_default() += 1;
        }
        counts
    }
}
