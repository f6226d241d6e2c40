//! What a device's meter counted and its sensors read while it worked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Device, Nanos};

/// A meter of energy, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerMeter {
    /// The device kind whose work it counts: `cpu`, `cuda:1`.
    pub device: Device,
    /// Where the figures come from: `RAPL, processor packages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Mean watts before any worker was started, over some seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_watts: Option<f64>,
    /// The time between two updates of the meter while idle, or as long as was looked where fewer
    /// than two were seen. What is shorter than five of them has no energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_ns: Option<Nanos>,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// Why a repetition has no energy though its device has a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnergyUnavailable {
    /// It was shorter than five periods of the meter.
    ShortRepetition,
    /// The meter gave no answer.
    Unreadable,
}

/// A reason for which a device lowers its clock. Source: NVML, `nvmlClocksEventReasons`. That the device
/// is idle, or that somebody set its clocks, is none.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// The device draws what it may: usual for large GPUs under load.
    SwPowerCap,
    /// The hardware halves the clock, or worse.
    HwSlowdown,
    /// The driver lowers the clock, as GPU or memory is too hot.
    SwThermalSlowdown,
    /// The hardware halves the clock, or worse, as the GPU is too hot.
    HwThermalSlowdown,
    /// The hardware halves the clock, or worse, as the power supply asks for it.
    HwPowerBrake,
}

impl ThrottleReason {
    /// The name in results and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::SwPowerCap => "sw_power_cap",
            Self::HwSlowdown => "hw_slowdown",
            Self::SwThermalSlowdown => "sw_thermal_slowdown",
            Self::HwThermalSlowdown => "hw_thermal_slowdown",
            Self::HwPowerBrake => "hw_power_brake",
        }
    }

    /// Whether a repetition is marked for it. At its power limit a device does what it can do.
    pub fn marks(self) -> bool {
        self != Self::SwPowerCap
    }
}

/// The readings of a clock, in MHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockRange {
    /// The lowest.
    pub min: u32,
    /// The median.
    pub median: u32,
    /// The highest.
    pub max: u32,
}

impl ClockRange {
    /// Of readings in any order; `None` where there are none.
    pub fn of(mut mhz: Vec<u32>) -> Option<Self> {
        mhz.sort_unstable();
        let (&min, &max) = (mhz.first()?, mhz.last()?);
        let (below, above) = (mhz[(mhz.len() - 1) / 2], mhz[mhz.len() / 2]);
        Some(Self {
            min,
            median: below.midpoint(above),
            max,
        })
    }
}

/// The state of a device while it worked: readings from the request on, the last one as the reply came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceConditions {
    /// The time between two readings.
    pub every_ns: Nanos,
    /// Readings that found the device at work. Clocks and reasons are theirs.
    pub readings: usize,
    /// The clock of the processors: of an NVIDIA GPU its SMs'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<ClockRange>,
    /// The clock of the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<ClockRange>,
    /// The highest temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_temperature_celsius: Option<f64>,
    /// The mean of the power that the device itself tells, which may lag behind by a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_watts: Option<f64>,
    /// The share of the readings in which the clock was lowered for any [`ThrottleReason`], from 0 to
    /// 1; absent where the device doesn't tell reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_share: Option<f64>,
    /// The same for each reason (`sw_power_cap`, `hw_slowdown`, `sw_thermal_slowdown`, `hw_thermal_slowdown`,
    /// `hw_power_brake`); those that never held are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttle_reasons: BTreeMap<ThrottleReason, f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_median_between_its_ends() {
        let range = |mhz: &[u32]| {
            let range = ClockRange::of(mhz.to_vec())?;
            Some((range.min, range.median, range.max))
        };
        assert_eq!(range(&[]), None);
        assert_eq!(range(&[1980, 1400, 1700]), Some((1400, 1700, 1980)));
        assert_eq!(range(&[1980, 1400]), Some((1400, 1690, 1980)));
    }

    #[test]
    fn a_reason_is_written_by_its_name() {
        let reasons = [
            ThrottleReason::SwPowerCap,
            ThrottleReason::HwSlowdown,
            ThrottleReason::SwThermalSlowdown,
            ThrottleReason::HwThermalSlowdown,
            ThrottleReason::HwPowerBrake,
        ];
        for reason in reasons {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        assert_eq!(
            reasons.map(ThrottleReason::marks),
            [false, true, true, true, true]
        );
    }
}
