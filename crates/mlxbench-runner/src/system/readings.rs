//! A device's sensors, read beside a repetition, and what its conditions were.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mlxbench_core::results::{ClockRange, DeviceConditions, ThrottleReason};

use super::gauge::{Gauge, Reading};
use super::sampler::Sampler;

/// The time between two readings: they ask the driver, which has launches to serve, too.
const EVERY: Duration = Duration::from_millis(100);

/// A thread of its own that reads a device, so that the watch over the worker's memory never waits for a
/// driver.
#[derive(Debug)]
pub(crate) struct DeviceSampler(Sampler<Seen>);

#[derive(Debug)]
struct Seen {
    gauge: Box<dyn Gauge>,
    readings: Vec<Reading>,
    last: Instant,
}

impl DeviceSampler {
    /// Reads once in 100 ms, first in 100 ms from now.
    pub(crate) fn start(mut gauge: Box<dyn Gauge>) -> Self {
        // Sensors that tell means begin anew. Here, not on the thread: the driver has launches to serve next.
        let _ = gauge.read();
        let seen = Seen {
            gauge,
            readings: Vec::new(),
            last: Instant::now(),
        };
        Self(Sampler::start(EVERY, seen, |seen, at| {
            if at >= EVERY / 2 {
                seen.readings.push(seen.gauge.read());
                seen.last = Instant::now();
            }
            true
        }))
    }

    /// Reads a last time, unless it just did. The sensors back, and what they told; `None` if reading
    /// them panicked.
    pub(crate) fn stop(self) -> Option<(Box<dyn Gauge>, DeviceConditions)> {
        let Seen {
            mut gauge,
            mut readings,
            last,
        } = self.0.stop()?;
        if readings.is_empty() || last.elapsed() >= EVERY / 2 {
            readings.push(gauge.read());
        }
        Some((gauge, conditions(&readings)))
    }
}

/// What `readings` come to.
fn conditions(readings: &[Reading]) -> DeviceConditions {
    let busy: Vec<&Reading> = readings.iter().filter(|reading| !reading.idle).collect();
    let clocks = |of: fn(&Reading) -> Option<u32>| {
        ClockRange::of(busy.iter().filter_map(|reading| of(reading)).collect())
    };
    let temperatures = readings.iter().filter_map(|r| r.temperature_celsius);
    let watts: Vec<f64> = readings.iter().filter_map(|r| r.watts).collect();
    let told: Vec<&[ThrottleReason]> = busy
        .iter()
        .filter_map(|reading| reading.throttle_reasons.as_deref())
        .collect();
    let share = |readings: usize| readings as f64 / told.len() as f64;
    let mut held: BTreeMap<ThrottleReason, usize> = BTreeMap::new();
    for &reason in told.iter().copied().flatten() {
        *held.entry(reason).or_default() += 1;
    }
    let throttled = told.iter().filter(|reasons| !reasons.is_empty()).count();
    DeviceConditions {
        every_ns: EVERY.into(),
        readings: busy.len(),
        clock_mhz: clocks(|reading| reading.clock_mhz),
        memory_clock_mhz: clocks(|reading| reading.memory_clock_mhz),
        max_temperature_celsius: temperatures.max_by(f64::total_cmp),
        mean_watts: (!watts.is_empty()).then(|| watts.iter().sum::<f64>() / watts.len() as f64),
        throttled_share: (!told.is_empty()).then(|| share(throttled)),
        throttle_reasons: held
            .into_iter()
            .map(|(reason, readings)| (reason, share(readings)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ThrottleReason::{HwSlowdown, HwThermalSlowdown, SwPowerCap};

    fn busy(clock_mhz: u32, watts: f64, reasons: &[ThrottleReason]) -> Reading {
        Reading {
            watts: Some(watts),
            clock_mhz: Some(clock_mhz),
            memory_clock_mhz: Some(2619),
            temperature_celsius: Some(f64::from(clock_mhz) / 20.0),
            idle: false,
            throttle_reasons: Some(reasons.to_vec()),
        }
    }

    #[test]
    fn shares_are_of_the_readings_at_work() {
        let idle = Reading {
            idle: true,
            ..busy(345, 100.0, &[])
        };
        let readings = [
            idle,
            busy(1980, 300.0, &[]),
            busy(1500, 700.0, &[SwPowerCap]),
            busy(900, 500.0, &[SwPowerCap, HwSlowdown, HwThermalSlowdown]),
            busy(1700, 400.0, &[]),
        ];
        let told = conditions(&readings);
        assert_eq!(told.readings, 4);
        let clock = told.clock_mhz.unwrap();
        assert_eq!((clock.min, clock.median, clock.max), (900, 1600, 1980));
        assert_eq!(told.max_temperature_celsius, Some(99.0));
        assert_eq!(
            told.mean_watts,
            Some(400.0),
            "power counts whatever the device does"
        );
        assert_eq!(told.throttled_share, Some(0.5));
        let shares = [
            (SwPowerCap, 0.5),
            (HwSlowdown, 0.25),
            (HwThermalSlowdown, 0.25),
        ];
        assert_eq!(told.throttle_reasons, BTreeMap::from(shares));
    }

    #[test]
    fn what_is_not_told_is_absent() {
        let told = conditions(&[Reading::default()]);
        assert_eq!(told.readings, 1);
        assert_eq!((told.clock_mhz, told.mean_watts), (None, None));
        assert_eq!(
            (told.throttled_share, told.throttle_reasons.len()),
            (None, 0)
        );
    }

    /// Counts how often it was read.
    #[derive(Debug)]
    struct Counting(u32);

    impl Gauge for Counting {
        fn source(&self) -> &str {
            "a test"
        }

        fn read(&mut self) -> Reading {
            self.0 += 1;
            busy(self.0, 1.0, &[])
        }
    }

    #[test]
    fn a_short_repetition_has_the_reading_at_its_end() {
        let sampler = DeviceSampler::start(Box::new(Counting(0)));
        let (mut gauge, told) = sampler.stop().unwrap();
        let clock = told.clock_mhz.unwrap();
        assert!(clock.min > 1, "the first reading is of the time before");
        // The sensors come back, to be read on.
        assert_eq!(gauge.read().clock_mhz, Some(clock.max + 1));
    }
}
