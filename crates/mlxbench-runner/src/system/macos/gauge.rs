//! The state of CPU and GPU, by macmon. It tells no reasons for a low clock.

use mlxbench_core::Device;

use super::macmon::Macmon;
use crate::system::gauge::{Gauge, Reading};

/// The processor's part of the chip, or the GPU's: all else that frameworks call a device.
#[derive(Debug)]
struct Chip {
    macmon: Macmon,
    is_cpu: bool,
}

/// # Errors
/// Why there is nothing to read, in words for people.
pub(crate) fn open(device: &Device) -> Result<Box<dyn Gauge>, String> {
    let macmon = Macmon::open()?;
    let is_cpu = device.kind() == "cpu";
    Ok(Box::new(Chip { macmon, is_cpu }))
}

impl Gauge for Chip {
    fn source(&self) -> &str {
        "macmon"
    }

    fn read(&mut self) -> Reading {
        let Some(metrics) = self.macmon.metrics() else {
            return Reading::default();
        };
        let (watts, clock_mhz, celsius, active) = match self.is_cpu {
            true => (
                metrics.cpu_power,
                // From the slowest kind of cores to the fastest.
                metrics.cpu_tiers.last().map_or(0, |tier| tier.freq_mhz),
                metrics.temp.cpu_temp_avg,
                metrics.cpu_active_ratio,
            ),
            false => (
                metrics.gpu_power,
                metrics.gpu_freq_mhz,
                metrics.temp.gpu_temp_avg,
                metrics.gpu_active_ratio,
            ),
        };
        Reading {
            watts: Some(watts.into()),
            clock_mhz: (clock_mhz > 0).then_some(clock_mhz),
            temperature_celsius: celsius.map(f64::from),
            idle: active == 0.0,
            ..Reading::default()
        }
    }
}
