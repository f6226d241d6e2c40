//! A device whose meter and sensors are scripted, so that tests see a whole run with a hot GPU: the
//! file that [`TEST_DEVICE`] names stands for every device. `docs/development.md` says what it holds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlxbench_core::mock::TEST_DEVICE;
use mlxbench_core::results::ThrottleReason;
use serde::Deserialize;

use super::gauge::{Gauge, Reading};

/// What the file holds, as JSON.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct State {
    watts: Option<f64>,
    /// The counter of energy is updated so often.
    period_ms: u32,
    clock_mhz: Option<u32>,
    memory_clock_mhz: Option<u32>,
    temperature_celsius: Option<f64>,
    idle: bool,
    throttle_reasons: Option<Vec<ThrottleReason>>,
}

/// The device.
#[derive(Debug)]
pub(crate) struct TestDevice {
    file: PathBuf,
    source: String,
    opened: Instant,
    /// Periods of the counter that are over.
    counted: u32,
    joules: f64,
}

impl TestDevice {
    /// The device of the environment, where there is one.
    pub(crate) fn from_environment() -> Option<Result<Self, String>> {
        let file = std::env::var_os(TEST_DEVICE).filter(|file| !file.is_empty())?;
        Some(Self::open(Path::new(&file)))
    }

    fn open(file: &Path) -> Result<Self, String> {
        state(file)?;
        Ok(Self {
            file: file.to_owned(),
            source: format!("{TEST_DEVICE}, {}", file.display()),
            opened: Instant::now(),
            counted: 0,
            joules: 0.0,
        })
    }

    /// What reads it.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Joules since this was opened, as of the last whole period; `None` when the file has no power.
    pub(crate) fn joules(&mut self) -> Option<f64> {
        self.joules_after(self.opened.elapsed())
    }

    fn joules_after(&mut self, elapsed: Duration) -> Option<f64> {
        let state = state(&self.file).ok()?;
        let (watts, period) = (state.watts?, state.period_ms.max(1));
        let periods = u32::try_from(elapsed.as_millis() / u128::from(period)).ok()?;
        let more = f64::from(periods.saturating_sub(self.counted)) * f64::from(period) / 1e3;
        self.counted = periods;
        self.joules += watts * more;
        Some(self.joules)
    }
}

impl Gauge for TestDevice {
    fn source(&self) -> &str {
        &self.source
    }

    fn read(&mut self) -> Reading {
        let State {
            watts,
            period_ms: _,
            clock_mhz,
            memory_clock_mhz,
            temperature_celsius,
            idle,
            throttle_reasons,
        } = state(&self.file).unwrap_or_default();
        Reading {
            watts,
            clock_mhz,
            memory_clock_mhz,
            temperature_celsius,
            idle,
            throttle_reasons,
        }
    }
}

fn state(file: &Path) -> Result<State, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("{TEST_DEVICE}={}: {error}", file.display());
    let text = std::fs::read(file).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn its_counter_is_updated_once_a_period_and_its_state_is_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("device.json");
        std::fs::write(&file, r#"{"watts": 50, "period_ms": 100}"#).unwrap();
        let mut device = TestDevice::open(&file).unwrap();
        assert_eq!(device.joules_after(99 * MS), Some(0.0));
        assert_eq!(device.joules_after(250 * MS), Some(10.0));
        std::fs::write(&file, r#"{"watts": 0, "period_ms": 100, "clock_mhz": 900}"#).unwrap();
        assert_eq!(device.joules_after(1000 * MS), Some(10.0));
        assert_eq!(device.read().clock_mhz, Some(900));
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("device.json");
        assert!(TestDevice::open(&file).is_err());
        std::fs::write(&file, r#"{"wats": 50}"#).unwrap();
        assert!(TestDevice::open(&file).unwrap_err().contains("wats"));
    }
}
