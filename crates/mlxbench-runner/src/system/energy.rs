//! The energy that a target spends.

use std::thread;
use std::time::{Duration, Instant};

use mlxbench_core::Device;

use super::Meter;
use super::nvidia::NvidiaMeter;
use super::test_device::TestDevice;

/// How often a counter is read to see when it changes.
const LOOK: Duration = Duration::from_millis(10);

/// What a meter shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// What was spent since it was opened.
    Joules(f64),
    /// What is drawn now, where nothing is counted.
    Watts(f64),
}

impl Measure {
    /// The number alone.
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Joules(value) | Self::Watts(value) => value,
        }
    }
}

/// The meter nearest to where a target computes.
#[derive(Debug)]
pub(crate) enum EnergyMeter {
    /// An NVIDIA GPU's own.
    Nvidia(NvidiaMeter),
    /// The operating system's.
    System(Meter),
    /// A scripted one.
    Test(TestDevice),
}

impl EnergyMeter {
    /// The GPU's for `cuda`, else the operating system's; the test device's (`test_device`) where
    /// there is one.
    ///
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub(crate) fn for_device(device: &Device) -> Result<Self, String> {
        if let Some(test) = TestDevice::from_environment() {
            return test.map(Self::Test);
        }
        match device.kind() {
            "cuda" => NvidiaMeter::open(device.index()).map(Self::Nvidia),
            _ => Meter::open().map(Self::System),
        }
    }

    /// What is counted.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Nvidia(meter) => meter.source(),
            Self::System(meter) => meter.source(),
            Self::Test(meter) => meter.source(),
        }
    }

    /// What it shows now; `None` when it can't be read.
    pub(crate) fn read(&mut self) -> Option<Measure> {
        match self {
            Self::Nvidia(meter) => meter.read(),
            Self::System(meter) => meter.joules().map(Measure::Joules),
            Self::Test(meter) => meter.joules().map(Measure::Joules),
        }
    }

    fn look_every(&self) -> Duration {
        match self {
            Self::Nvidia(_) | Self::Test(_) => LOOK,
            Self::System(_) => Meter::LOOK,
        }
    }
}

/// A meter that was looked at while nothing ran.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Idle {
    /// Mean power.
    pub(crate) watts: Option<f64>,
    /// The time between two updates, or as long as was looked where fewer than two were seen.
    pub(crate) period: Option<Duration>,
}

/// Looks at all `meters` for so long; at once where there are none.
pub(crate) fn idle<'a>(
    meters: impl IntoIterator<Item = &'a mut EnergyMeter>,
    time: Duration,
) -> Vec<Idle> {
    let mut looks: Vec<(&mut EnergyMeter, Vec<(Duration, Measure)>)> = meters
        .into_iter()
        .map(|meter| (meter, Vec::new()))
        .collect();
    let every = looks.iter().map(|(meter, _)| meter.look_every()).max();
    let start = Instant::now();
    while let Some(every) = every {
        for (meter, seen) in &mut looks {
            let measure = meter.read();
            seen.extend(measure.map(|measure| (start.elapsed(), measure)));
        }
        if start.elapsed() >= time || looks.iter().all(|(_, seen)| seen.is_empty()) {
            break;
        }
        thread::sleep(every);
    }
    looks.into_iter().map(|(_, seen)| Idle::of(&seen)).collect()
}

impl Idle {
    /// What follows from what a meter showed at each time.
    fn of(seen: &[(Duration, Measure)]) -> Self {
        let [(start, first), .., (end, last)] = seen else {
            return Self::default();
        };
        let span = *end - *start;
        let watts = match (first, last) {
            (Measure::Joules(before), Measure::Joules(after)) => {
                (after - before) / span.as_secs_f64()
            }
            _ => seen.iter().map(|(_, seen)| seen.value()).sum::<f64>() / seen.len() as f64,
        };
        let changes = seen.windows(2).filter(|pair| pair[0].1 != pair[1].1);
        let changes: Vec<Duration> = changes.map(|pair| pair[1].0).collect();
        let mut gaps: Vec<Duration> = changes.windows(2).map(|two| two[1] - two[0]).collect();
        gaps.sort_unstable();
        Self {
            watts: Some(watts).filter(|watts| watts.is_finite()),
            period: Some(gaps.get(gaps.len() / 2).copied().unwrap_or(span)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_device_chooses_the_meter() {
        // What opens differs from machine to machine; what fails says of which it is.
        match EnergyMeter::for_device(&"cuda:999".parse().unwrap()) {
            Ok(meter) => panic!("there is no such GPU: {meter:?}"),
            Err(reason) => assert!(reason.contains("NVIDIA") || reason.contains("999")),
        }
        match EnergyMeter::for_device(&Device::cpu()) {
            Ok(meter) => assert!(matches!(meter, EnergyMeter::System(_))),
            Err(reason) => assert!(!reason.contains("NVIDIA"), "{reason}"),
        }
    }

    /// A counter that is read every 10 ms and grows by `joules` once in `period` ms.
    fn counter(joules: f64, period: u32) -> Vec<(Duration, Measure)> {
        let looks = (0..=200).map(|look| 10 * look);
        let shows = looks.map(|ms| (MS * ms, Measure::Joules(f64::from(ms / period) * joules)));
        shows.collect()
    }

    #[test]
    fn a_counter_tells_its_period_and_the_idle_power() {
        let seen = Idle::of(&counter(7.0, 100));
        assert_eq!(seen.period, Some(100 * MS));
        assert_eq!(seen.watts, Some(70.0));
        // Between two looks: the period is one of them at most.
        assert_eq!(Idle::of(&counter(0.01, 1)).period, Some(10 * MS));
    }

    #[test]
    fn a_counter_that_hardly_changes_has_a_period_of_all_that_was_seen() {
        assert_eq!(Idle::of(&counter(0.0, 100)).period, Some(2000 * MS));
        assert_eq!(Idle::of(&counter(9.0, 1500)).period, Some(2000 * MS));
        assert_eq!(Idle::of(&[]), Idle::default());
    }

    #[test]
    fn power_is_averaged_where_nothing_is_counted() {
        let seen = [10.0, 10.0, 14.0, 14.0, 12.0, 12.0];
        let at = |look: usize| 10 * MS * look as u32;
        let seen = seen.iter().enumerate();
        let seen: Vec<_> = seen
            .map(|(look, &watts)| (at(look), Measure::Watts(watts)))
            .collect();
        let seen = Idle::of(&seen);
        assert_eq!((seen.watts, seen.period), (Some(12.0), Some(20 * MS)));
    }

    #[test]
    fn no_meter_is_not_waited_for() {
        assert_eq!(idle([], Duration::from_secs(3600)), []);
    }
}
