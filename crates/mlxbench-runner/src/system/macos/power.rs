//! The power that the machine draws, by macmon, which needs no root.

use std::fmt;
use std::time::Duration;

use macmon::Sampler;

/// Reads the power of CPU, GPU and neural engine together.
pub struct Meter(Sampler);

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn open() -> Result<Self, String> {
        let sampler = Sampler::new().map_err(|error| format!("macmon: {error}"))?;
        match sampler.get_soc_info().vm {
            true => Err("a virtual machine has no power counters".into()),
            false => Ok(Self(sampler)),
        }
    }

    /// Mean watts over `time`, which this waits for; `None` when a counter can't be read.
    pub fn watts(&mut self, time: Duration) -> Option<f64> {
        let metrics = self.0.get_metrics(time.as_millis() as u32).ok()?;
        Some(metrics.all_power.into())
    }
}
