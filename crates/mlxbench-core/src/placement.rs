//! Where a model runs and in which number format: core's own names, never a framework's types.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, GemmaConfig, Precision};

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

/// A device's name: `cpu`, `mps`, `gpu`, `metal`, `cuda`, `cuda:1`, or one of these with a way of using it:
/// `cuda+graph` hands over steps as graphs, `cuda+ple-cpu` keeps Gemma 4's table of per-layer embeddings in the
/// host's memory (llama.cpp's `--override-tensor per_layer_token_embd=CPU`).
///
/// The name is data. Which names mean something is the backend's business, and a Mac differs from
/// a Linux machine in nothing else. Rows are labelled by the whole name; meters, probes and memory go by
/// the hardware.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Device(String);

/// The way of a device that keeps the table of per-layer embeddings in the host's memory.
const PER_LAYER_ON_CPU: &str = "ple-cpu";

impl Device {
    /// The processor's cores.
    pub fn cpu() -> Self {
        Self("cpu".into())
    }

    /// The name without its index: `cuda` of `cuda:1` and of `cuda+graph`.
    pub fn kind(&self) -> &str {
        let name = parts(&self.0).0;
        name.split_once(':').map_or(name, |(kind, _)| kind)
    }

    /// The index after the colon, 0 when there is none: 1 of `cuda:1` and of `cuda:1+graph`.
    pub fn index(&self) -> usize {
        let index = parts(&self.0).0.split_once(':');
        index.map_or(0, |(_, index)| {
            index.parse().expect("checked when the name was parsed")
        })
    }

    /// How it is used, where the name says: `graph` of `cuda+graph`.
    pub fn way(&self) -> Option<&str> {
        parts(&self.0).1
    }

    /// The device, however it is used: `cuda:1` of `cuda:1+graph`.
    pub fn hardware(&self) -> Self {
        Self(parts(&self.0).0.into())
    }

    /// Whether the table of per-layer embeddings is kept in the host's memory and its rows are gathered there: on
    /// `cuda+ple-cpu`.
    pub fn keeps_per_layer_on_cpu(&self) -> bool {
        self.way() == Some(PER_LAYER_ON_CPU)
    }

    /// The name in a worker's list of devices. Where a table is kept makes no entry of its own there.
    pub fn listed(&self) -> Self {
        match self.keeps_per_layer_on_cpu() {
            true => self.hardware(),
            false => self.clone(),
        }
    }

    /// Whether a model has the table whose place the name states.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it doesn't.
    pub fn check_model(&self, config: &GemmaConfig) -> Result<(), Error> {
        if self.keeps_per_layer_on_cpu() && config.per_layer.is_none() {
            return Err(Error::Unsupported(format!(
                "`{self}` keeps the table of per-layer embeddings on the CPU, and this model has none: write `{}`",
                self.hardware()
            )));
        }
        Ok(())
    }

    /// For a framework that knows one way of using a device only, here at least.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the name asks for another.
    pub fn refuse_ways(&self, framework: &str) -> Result<(), Error> {
        let what = match self.way() {
            None => return Ok(()),
            Some(PER_LAYER_ON_CPU) => "keep per-layer embeddings on the CPU for".to_owned(),
            Some(way) => format!("hand over steps by `{way}` on"),
        };
        let hardware = self.hardware();
        Err(Error::Unsupported(format!(
            "{framework}'s worker can't {what} `{hardware}`: write `{hardware}`"
        )))
    }
}

/// A name's hardware and way.
fn parts(name: &str) -> (&str, Option<&str>) {
    match name.split_once('+') {
        Some((hardware, way)) => (hardware, Some(way)),
        None => (name, None),
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
        let (hardware, way) = parts(s);
        let (kind, index) = hardware.split_once(':').unwrap_or((hardware, "0"));
        let is_word = |word: &str| {
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !word.is_empty() && word.bytes().all(allowed)
        };
        if way.is_some_and(|way| way.contains('+')) {
            return Err(Error::Invalid(format!(
                "`{s}` names two ways of using `{hardware}`: write one, such as {hardware}+graph"
            )));
        }
        if is_word(kind) && way.is_none_or(is_word) && index.parse::<usize>().is_ok() {
            Ok(Self(s.into()))
        } else {
            Err(Error::Invalid(format!(
                "`{s}` is no device name: write a lowercase name such as cpu, mps, gpu, cuda:0 or \
                 cuda+graph"
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
        assert_eq!((device.way(), device.hardware()), (None, device.clone()));
    }

    #[test]
    fn a_way_of_handing_over_steps_is_no_other_hardware() {
        let device: Device = "cuda:1+graph".parse().unwrap();
        assert_eq!((device.kind(), device.index()), ("cuda", 1));
        assert_eq!(device.way(), Some("graph"));
        assert_eq!(device.hardware().to_string(), "cuda:1");
        assert_eq!(device.to_string(), "cuda:1+graph");
        let first: Device = "cuda+graph".parse().unwrap();
        assert_eq!((first.kind(), first.index()), ("cuda", 0));
    }

    #[test]
    fn a_way_that_a_framework_does_not_know_is_refused() {
        let device: Device = "cuda+graph".parse().unwrap();
        let refusal = device.refuse_ways("candle").unwrap_err();
        assert!(matches!(refusal, Error::Unsupported(_)));
        let says = "candle's worker can't hand over steps by `graph` on `cuda`: write `cuda`";
        assert!(refusal.to_string().contains(says), "{refusal}");
        device.hardware().refuse_ways("candle").unwrap();
        let device: Device = "cuda+ple-cpu".parse().unwrap();
        let refusal = device.refuse_ways("llama.cpp").unwrap_err().to_string();
        let says = "llama.cpp's worker can't keep per-layer embeddings on the CPU for `cuda`: write `cuda`";
        assert!(refusal.contains(says), "{refusal}");
    }

    #[test]
    fn where_a_table_is_kept_is_a_way_of_models_that_have_it() {
        let [table, graph] =
            ["cuda:1+ple-cpu", "cuda:1+graph"].map(|name| name.parse::<Device>().unwrap());
        assert!(table.keeps_per_layer_on_cpu() && !graph.keeps_per_layer_on_cpu());
        assert_eq!(
            (table.listed(), graph.listed()),
            (table.hardware(), graph.clone())
        );
        let config = |name| crate::gemma::preset(name).unwrap().config();
        table.check_model(&config("gemma-4-e2b")).unwrap();
        graph.check_model(&config("gemma-3-1b")).unwrap();
        let refusal = table.check_model(&config("gemma-3-1b")).unwrap_err();
        assert!(matches!(refusal, Error::Unsupported(_)));
        assert!(
            refusal.to_string().ends_with("has none: write `cuda:1`"),
            "{refusal}"
        );
    }

    #[test]
    fn nonsense_is_no_device() {
        for name in [
            "",
            "CPU",
            "cuda:",
            "cuda:x",
            ":0",
            "a b",
            "cuda+",
            "+graph",
            "cuda+Graph",
            "cuda+graph:1",
            "cuda+a+b",
        ] {
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
