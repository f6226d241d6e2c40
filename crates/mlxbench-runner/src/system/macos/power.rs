//! The energy that the machine spends, by macmon, which needs no root.

use std::time::{Duration, Instant};

use super::macmon::Macmon;

/// Reads the energy of CPU, GPU and neural engine together.
///
/// macmon tells the mean power since it was last asked, from counters of energy. So that power times
/// time is what was spent, over any time.
#[derive(Debug)]
pub struct Meter {
    macmon: Macmon,
    last: Instant,
    joules: f64,
}

impl Meter {
    /// How often it may be read without being a load of its own.
    pub const LOOK: Duration = Duration::from_millis(100);

    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn open() -> Result<Self, String> {
        Ok(Self {
            macmon: Macmon::open()?,
            last: Instant::now(),
            joules: 0.0,
        })
    }

    /// What is counted.
    pub fn source(&self) -> &str {
        "macmon, CPU, GPU and neural engine"
    }

    /// Joules spent since this was opened; `None` when a counter can't be read.
    pub fn joules(&mut self) -> Option<f64> {
        let now = Instant::now();
        let metrics = self.macmon.metrics()?;
        // Negative where a counter was reset.
        let watts = f64::from(metrics.all_power).max(0.0);
        self.joules += watts * (now - self.last).as_secs_f64();
        self.last = now;
        Some(self.joules)
    }
}
