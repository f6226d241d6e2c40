//! The energy that a target spends.

use mlxbench_core::Device;

use super::{Meter, NvidiaMeter};

/// The meter nearest to where a target computes.
#[derive(Debug)]
pub enum EnergyMeter {
    /// An NVIDIA GPU's own.
    Nvidia(NvidiaMeter),
    /// The operating system's.
    System(Meter),
}

impl EnergyMeter {
    /// The GPU's for `cuda`, else the operating system's.
    ///
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn for_device(device: &Device) -> Result<Self, String> {
        match device.kind() {
            "cuda" => NvidiaMeter::open(device.index()).map(Self::Nvidia),
            _ => Meter::open().map(Self::System),
        }
    }

    /// What is counted.
    pub fn source(&self) -> &str {
        match self {
            Self::Nvidia(meter) => meter.source(),
            Self::System(meter) => meter.source(),
        }
    }

    /// Joules spent since this was opened; `None` when the counter can't be read.
    pub fn joules(&mut self) -> Option<f64> {
        match self {
            Self::Nvidia(meter) => meter.joules(),
            Self::System(meter) => meter.joules(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_chooses_the_meter() {
        // What opens differs from machine to machine; what fails says of which it is.
        match EnergyMeter::for_device(&"cuda:999".parse().unwrap()) {
            Ok(meter) => panic!("there is no such GPU: {meter:?}"),
            Err(reason) => assert!(reason.contains("NVIDIA") || reason.contains("999")),
        }
        match EnergyMeter::for_device(&Device::cpu()) {
            Ok(meter) => assert!(matches!(meter, EnergyMeter::System(_))),
            Err(reason) => assert!(!reason.contains("NVIDIA"), "{reason}"),
        }
    }
}
