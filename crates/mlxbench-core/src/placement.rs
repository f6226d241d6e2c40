//! Where a model runs and in which number format: core's own names, never a framework's types.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Precision};

/// A number format.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// bfloat16: the exponent of f32, 8 bits of precision.
    Bf16,
    /// IEEE 754 binary16. Gemma's activations can overflow it.
    F16,
}

impl Dtype {
    /// Every dtype, in the order of reports.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Bytes an element.
    pub fn size_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The name used in configs, results and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == s)
            .ok_or_else(|| Error::Invalid(format!("unknown dtype `{s}`: write f32, bf16 or f16")))
    }
}

/// A device's name: `cpu`, `mps`, `gpu`, `metal`, `cuda`, `cuda:1`.
///
/// The name is data. Which names mean something is the backend's business, and a Mac differs from
/// a Linux machine in nothing else.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Device(String);

impl Device {
    /// The processor's cores.
    pub fn cpu() -> Self {
        Self("cpu".into())
    }

    /// The name without its index: `cuda` of `cuda:1`.
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(kind, _)| kind)
    }

    /// The index after the colon, 0 when there is none: 1 of `cuda:1`.
    pub fn index(&self) -> usize {
        let index = self.0.split_once(':').map(|(_, index)| index.parse());
        index.map_or(0, |parsed| {
            parsed.expect("checked when the name was parsed")
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let (kind, index) = s.split_once(':').unwrap_or((s, "0"));
        let named = !kind.is_empty()
            && kind
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if named && index.parse::<usize>().is_ok() {
            Ok(Self(s.into()))
        } else {
            Err(Error::Invalid(format!(
                "`{s}` is no device name: write a lowercase name such as cpu, mps, gpu or cuda:0"
            )))
        }
    }
}

impl TryFrom<String> for Device {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.0
    }
}

/// Where a model is loaded and in which precision.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Placement {
    /// The device's name.
    pub device: Device,
    /// What its weights are kept in, and what is computed in.
    pub precision: Precision,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_name_and_an_index() {
        let device: Device = "cuda:1".parse().unwrap();
        assert_eq!((device.kind(), device.index()), ("cuda", 1));
        assert_eq!(Device::cpu().index(), 0);
    }

    #[test]
    fn nonsense_is_no_device() {
        for name in ["", "CPU", "cuda:", "cuda:x", ":0", "a b"] {
            assert!(
                name.parse::<Device>().is_err(),
                "{name:?} was taken for a device"
            );
        }
    }

    #[test]
    fn dtypes_parse_from_their_own_names() {
        for dtype in Dtype::ALL {
            assert_eq!(dtype.name().parse::<Dtype>().unwrap(), dtype);
        }
        assert!("fp16".parse::<Dtype>().is_err());
    }
}
