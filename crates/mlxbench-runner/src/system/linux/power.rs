//! The power that the machine draws, from the processor's RAPL counters.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Reads the energy of all processor packages. Source: the kernel's Documentation/power/powercap.
#[derive(Debug)]
pub struct Meter {
    /// The counters of microjoules, with the value after which each starts again.
    counters: Vec<(PathBuf, u64)>,
}

impl Meter {
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn open() -> Result<Self, String> {
        let zones = fs::read_dir("/sys/class/powercap")
            .map_err(|_| "this machine has no RAPL counters".to_owned())?;
        let mut counters = Vec::new();
        for zone in zones.flatten().map(|zone| zone.path()) {
            let number = |name: &str| -> Option<u64> {
                fs::read_to_string(zone.join(name))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            };
            let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
            if !name.starts_with("package-") {
                continue;
            }
            let (Some(_), Some(most)) = (number("energy_uj"), number("max_energy_range_uj")) else {
                return Err("the RAPL counters can only be read by root".into());
            };
            counters.push((zone.join("energy_uj"), most));
        }
        match counters.is_empty() {
            true => Err("this machine has no RAPL counters".into()),
            false => Ok(Self { counters }),
        }
    }

    /// Mean watts over `time`, which this waits for; `None` when a counter can't be read.
    pub fn watts(&mut self, time: Duration) -> Option<f64> {
        let read = || -> Option<Vec<u64>> {
            let counters = self.counters.iter();
            let texts = counters.map(|(path, _)| fs::read_to_string(path).ok());
            texts.map(|text| text?.trim().parse().ok()).collect()
        };
        let (start, before) = (Instant::now(), read()?);
        thread::sleep(time);
        let (after, elapsed) = (read()?, start.elapsed());
        let counts = before.iter().zip(after).zip(&self.counters);
        let microjoules: u64 = counts
            .map(
                |((before, after), (_, most))| match after.checked_sub(*before) {
                    Some(spent) => spent,
                    None => after + most - before,
                },
            )
            .sum();
        Some(microjoules as f64 / 1e6 / elapsed.as_secs_f64())
    }
}
