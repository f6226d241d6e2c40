//! NVIDIA GPUs, by NVML: energy, the state of the device, a process's memory. It comes with the driver and is loaded when it is first asked for.

use std::sync::OnceLock;

use mlxbench_core::results::ThrottleReason;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};

use super::energy::Measure;
use super::gauge::{Gauge, Reading};

/// Reads the energy of one GPU: the whole board, whoever uses it. Since Volta a counter; before it, power.
#[derive(Debug)]
pub(crate) struct NvidiaMeter {
    device: Device<'static>,
    source: String,
    /// Millijoules when this was opened; `None` where there is no counter.
    start: Option<u64>,
}

impl NvidiaMeter {
    /// The meter of CUDA's device `index`.
    ///
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub(crate) fn open(index: usize) -> Result<Self, String> {
        let device = device(index)?;
        let start = device.total_energy_consumption();
        if let Err(error) = &start
            && device.power_usage().is_err()
        {
            return Err(format!("GPU {index} doesn't tell its energy: {error}"));
        }
        let source = source(&device, index);
        Ok(Self {
            device,
            source: match start {
                Ok(_) => source,
                Err(_) => format!("{source}, power over time"),
            },
            start: start.ok(),
        })
    }

    /// What is counted.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Joules since this was opened, or watts where there is no counter; `None` when it can't be read.
    pub(crate) fn read(&mut self) -> Option<Measure> {
        let Some(start) = self.start else {
            let milliwatts = self.device.power_usage().ok()?;
            return Some(Measure::Watts(f64::from(milliwatts) / 1e3));
        };
        let now = self.device.total_energy_consumption().ok()?;
        Some(Measure::Joules(now.checked_sub(start)? as f64 / 1e3))
    }
}

/// Reads power, clocks, temperature and throttle reasons of one GPU.
#[derive(Debug)]
pub(crate) struct NvidiaGauge {
    device: Device<'static>,
    source: String,
}

impl NvidiaGauge {
    /// The sensors of CUDA's device `index`.
    ///
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub(crate) fn open(index: usize) -> Result<Self, String> {
        let device = device(index)?;
        let source = source(&device, index);
        Ok(Self { device, source })
    }
}

impl Gauge for NvidiaGauge {
    fn source(&self) -> &str {
        &self.source
    }

    fn read(&mut self) -> Reading {
        let device = &self.device;
        let milliwatts = device.power_usage().ok();
        let celsius = device.temperature(TemperatureSensor::Gpu).ok();
        let reasons = device.current_throttle_reasons().ok();
        Reading {
            watts: milliwatts.map(|milliwatts| f64::from(milliwatts) / 1e3),
            clock_mhz: device.clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            temperature_celsius: celsius.map(f64::from),
            idle: reasons.is_some_and(|reasons| reasons.contains(ThrottleReasons::GPU_IDLE)),
            throttle_reasons: reasons.map(named),
        }
    }
}

/// NVML's reasons that are throttling, by our names.
fn named(reasons: ThrottleReasons) -> Vec<ThrottleReason> {
    let names = [
        (ThrottleReasons::SW_POWER_CAP, ThrottleReason::SwPowerCap),
        (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::HwSlowdown),
        (
            ThrottleReasons::SW_THERMAL_SLOWDOWN,
            ThrottleReason::SwThermalSlowdown,
        ),
        (
            ThrottleReasons::HW_THERMAL_SLOWDOWN,
            ThrottleReason::HwThermalSlowdown,
        ),
        (
            ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
            ThrottleReason::HwPowerBrake,
        ),
    ];
    let held = names.into_iter().filter(|(bit, _)| reasons.contains(*bit));
    held.map(|(_, reason)| reason).collect()
}

fn source(device: &Device<'_>, index: usize) -> String {
    let name = device.name().unwrap_or_else(|_| format!("GPU {index}"));
    format!("NVML, {name}")
}

/// The memory of CUDA's device `index` that process `pid` holds, in bytes, its context included.
/// `None` where the driver doesn't say, as in containers that have process numbers of their own.
pub fn process_memory_bytes(index: usize, pid: u32) -> Option<u64> {
    let processes = device(index).ok()?.running_compute_processes().ok()?;
    let process = processes.into_iter().find(|process| process.pid == pid)?;
    match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    }
}

/// NVML's handle of CUDA's device `index`. The two count GPUs alike where all are of one kind;
/// elsewhere CUDA puts the fastest first unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
fn device(index: usize) -> Result<Device<'static>, String> {
    let nvml = nvml()?;
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let name = visible_name(visible.as_deref(), index)
        .ok_or_else(|| format!("CUDA_VISIBLE_DEVICES hides GPU {index}"))?;
    let found = match name.parse() {
        Ok(number) => nvml.device_by_index(number),
        Err(_) => nvml.device_by_uuid(name),
    };
    found.map_err(|error| format!("GPU {index}: {error}"))
}

fn nvml() -> Result<&'static Nvml, String> {
    static NVML: OnceLock<Result<Nvml, String>> = OnceLock::new();
    let init = || Nvml::init().map_err(|error| format!("no NVIDIA driver answers: {error}"));
    NVML.get_or_init(init).as_ref().map_err(String::clone)
}

/// NVIDIA GPUs of this machine, whether or not CUDA may use them.
pub fn gpus() -> usize {
    let count = nvml().ok().and_then(|nvml| nvml.device_count().ok());
    count.map_or(0, |count| count as usize)
}

/// The number or UUID of CUDA's device `index`, with `visible` as `CUDA_VISIBLE_DEVICES`. Source: the
/// CUDA C++ Programming Guide, "CUDA Environment Variables".
fn visible_name(visible: Option<&str>, index: usize) -> Option<String> {
    let Some(visible) = visible else {
        return Some(index.to_string());
    };
    let name = visible.split(',').nth(index)?.trim();
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_counts_the_gpus_that_are_visible() {
        let name = |visible, index| visible_name(visible, index);
        assert_eq!(name(None, 1).as_deref(), Some("1"));
        assert_eq!(name(Some("3, GPU-8932"), 0).as_deref(), Some("3"));
        assert_eq!(name(Some("3, GPU-8932"), 1).as_deref(), Some("GPU-8932"));
        assert_eq!(name(Some("3"), 1), None);
        assert_eq!(name(Some(""), 0), None);
    }

    /// Holds with an NVIDIA GPU and without.
    #[test]
    fn a_gpu_counts_its_energy_or_says_why_not() {
        match NvidiaMeter::open(0) {
            Ok(mut meter) => {
                let before = meter.read().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(500));
                assert!(meter.read().unwrap().value() > before.value());
                assert!(meter.source().starts_with("NVML, "));
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
        assert_eq!(process_memory_bytes(0, std::process::id()), None);
        assert!(NvidiaMeter::open(999).is_err());
    }

    /// Holds with an NVIDIA GPU and without.
    #[test]
    fn a_gpu_tells_its_state_or_why_not() {
        match NvidiaGauge::open(0) {
            Ok(mut gauge) => {
                let reading = gauge.read();
                assert!(reading.temperature_celsius.unwrap() > 0.0, "{reading:?}");
                assert!(reading.clock_mhz.unwrap() > 0, "{reading:?}");
                assert!(gauge.source().starts_with("NVML, "));
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }

    #[test]
    fn what_somebody_set_or_idleness_is_no_throttling() {
        let harmless = ThrottleReasons::GPU_IDLE
            | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING
            | ThrottleReasons::SYNC_BOOST
            | ThrottleReasons::DISPLAY_CLOCK_SETTING;
        assert_eq!(named(harmless), []);
        let hot = ThrottleReasons::HW_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        let expected = [
            ThrottleReason::HwSlowdown,
            ThrottleReason::HwThermalSlowdown,
        ];
        assert_eq!(named(harmless | hot), expected);
    }
}
