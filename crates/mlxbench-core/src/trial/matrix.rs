//! What was found on a machine: the file that `mlxbench ops --format json` prints.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::Deviation;
use super::tensor::ElementType;
use crate::Device;
use crate::backend::Identity;
use crate::limits::at_most;
use crate::results::{Harness, Machine};
use crate::text::printable;

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
    /// Whether the user interrupted: what isn't there wasn't tried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
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
    /// Why its worker was given up, where that is its fault: it died, hung or printed rubbish before it introduced
    /// itself, or called a trial invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
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
    /// Why the device was given up before all was tried: it was gone after a crash, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
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

/// Backends of a file at most, and devices of a backend.
const MOST_BACKENDS: usize = 64;
const MOST_DEVICES: usize = 64;
/// Operations of a file at most.
const MOST_OPS: usize = 256;
/// Characters of a name at most.
const LONGEST_NAME: usize = 64;

fn named(what: &str, name: &str) -> Result<(), String> {
    match name.chars().count() {
        1..=LONGEST_NAME if printable(name) == name => Ok(()),
        _ => Err(format!(
            "{what} name is empty, can't be shown, or is longer than {LONGEST_NAME} characters"
        )),
    }
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
    /// The process died or didn't answer in time, or the device failed.
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
    /// Whether `text` says that it is such a file, of whatever version.
    pub fn is_one(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "ops_schema_version")]
            _version: serde::de::IgnoredAny,
        }
        serde_json::from_str::<Version>(text).is_ok()
    }

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
                let matrix: Self =
                    serde_json::from_value(value).map_err(|error| error.to_string())?;
                matrix.check()?;
                Ok(matrix)
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

    /// Whether there is no more of anything than tables can show: files come from others.
    fn check(&self) -> Result<(), String> {
        at_most("backends", self.backends.len(), MOST_BACKENDS)?;
        for backend in &self.backends {
            at_most("devices", backend.devices.len(), MOST_DEVICES)?;
            named("a backend's", &backend.backend)?;
        }
        for (_, device, cell) in self.cells() {
            named("a device's", &device.to_string())?;
            named("an operation's", &cell.op)?;
        }
        let ops: BTreeSet<&str> = self.cells().map(|(_, _, cell)| cell.op.as_str()).collect();
        at_most("operations", ops.len(), MOST_OPS)?;
        let mut cells = BTreeSet::new();
        for (at, backend) in self.backends.iter().enumerate() {
            for device in &backend.devices {
                for cell in &device.cells {
                    let place = (at, device.device.to_string(), &cell.op, cell.dtype);
                    if !cells.insert(place) {
                        return Err(format!(
                            "{}/{} has `{}` in {} twice",
                            backend.backend, device.device, cell.op, cell.dtype
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// What was given up: the backend, the device where it is one, and why.
    pub fn given_up(&self) -> impl Iterator<Item = (&str, Option<&Device>, &str)> {
        self.backends.iter().flat_map(|of| {
            let backend = of.backend.as_str();
            let whole = of.fault.as_deref().map(|fault| (backend, None, fault));
            let devices = of.devices.iter().filter_map(move |device| {
                Some((backend, Some(&device.device), device.stopped.as_deref()?))
            });
            whole.into_iter().chain(devices)
        })
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
