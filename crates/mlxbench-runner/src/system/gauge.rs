//! The sensors of a device: what each reading tells, and which sensors belong to which device.

use std::fmt::Debug;

use mlxbench_core::Device;
use mlxbench_core::results::ThrottleReason;
use serde::Serialize;

use super::nvidia::NvidiaGauge;
use super::os;
use super::test_device::TestDevice;

/// What a device's sensors tell at one time; `None` for what it doesn't tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reading {
    /// Power, in watts; some devices tell the mean of the last second.
    pub watts: Option<f64>,
    /// The clock of the processors.
    pub clock_mhz: Option<u32>,
    /// The clock of the memory.
    pub memory_clock_mhz: Option<u32>,
    /// The temperature.
    pub temperature_celsius: Option<f64>,
    /// Whether the device says that it has nothing to do.
    pub idle: bool,
    /// For which reasons the clock is lowered; empty for none.
    pub throttle_reasons: Option<Vec<ThrottleReason>>,
}

/// The sensors of a device.
pub trait Gauge: Debug + Send {
    /// What reads them.
    fn source(&self) -> &str;

    /// Reads them now.
    fn read(&mut self) -> Reading;
}

/// The sensors of `device`: NVML's for `cuda`, else the operating system's; the
/// test device's (`test_device`) where there is one.
///
/// # Errors
/// Why there is nothing to read, in words for people.
pub fn gauge(device: &Device) -> Result<Box<dyn Gauge>, String> {
    if let Some(test) = TestDevice::from_environment() {
        return Ok(Box::new(test?));
    }
    match device.kind() {
        "cuda" => Ok(Box::new(NvidiaGauge::open(device.index())?)),
        _ => os::gauge::open(device),
    }
}
