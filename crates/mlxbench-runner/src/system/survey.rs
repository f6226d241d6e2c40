//! What can be read of a device here, and why not the rest.

use std::time::Duration;

use mlxbench_core::Device;
use serde::Serialize;

use super::energy::{EnergyMeter, Idle, idle};
use super::gauge::{Reading, gauge};

/// What a device's meter and sensors tell now.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// What counts its energy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// What it draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
    /// The time between two updates of the meter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter_period_ms: Option<f64>,
    /// Why there is no energy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_unavailable: Option<String>,
    /// What reads its sensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensors: Option<String>,
    /// What they tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
    /// Why they tell nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensors_unavailable: Option<String>,
}

/// Looks at `device` for so long.
pub fn survey(device: &Device, time: Duration) -> Survey {
    let (meter, energy_unavailable) = told(EnergyMeter::for_device(device));
    let (gauge, sensors_unavailable) = told(gauge(device));
    let (meter, Idle { watts, period }) = match meter {
        Some(mut meter) => {
            let seen = idle([&mut meter], time).pop().unwrap_or_default();
            (Some(meter.source().to_owned()), seen)
        }
        None => (None, Idle::default()),
    };
    let sensors = gauge.as_ref().map(|gauge| gauge.source().to_owned());
    Survey {
        meter,
        watts,
        meter_period_ms: period.map(|period| period.as_secs_f64() * 1e3),
        energy_unavailable,
        sensors,
        reading: gauge.map(|mut gauge| gauge.read()),
        sensors_unavailable,
    }
}

fn told<T>(opened: Result<T, String>) -> (Option<T>, Option<String>) {
    match opened {
        Ok(opened) => (Some(opened), None),
        Err(reason) => (None, Some(reason)),
    }
}
