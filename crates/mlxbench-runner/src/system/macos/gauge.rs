//! The state of CPU and GPU, by macmon. It tells no reasons for a low clock.

use macmon::CpuTierMetrics;
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

/// The clock in MHz of the cores that worked; 0 where none did. macmon's own mean counts idle cores as 0 MHz,
/// so that it tells how many were busy.
fn active_clock(tier: &CpuTierMetrics) -> u32 {
    let active: f64 = tier
        .cores
        .iter()
        .map(|core| f64::from(core.active_ratio))
        .sum();
    let clocks = tier.cores.iter();
    let clocks = clocks.map(|core| f64::from(core.active_ratio) * f64::from(core.freq_mhz));
    match active > 0.0 {
        true => (clocks.sum::<f64>() / active) as u32,
        false => 0,
    }
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
                metrics.cpu_tiers.last().map_or(0, active_clock),
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
