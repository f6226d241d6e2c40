//! The state of a target's device over the repetitions of a test.

use std::collections::{BTreeMap, BTreeSet};

use mlxbench_core::results::{
    ClockRange, DeviceConditions, RunResult, Sample, TargetId, Test, ThrottleReason,
};
use serde::Serialize;

/// A repetition whose median clock is below this share of the others' is slow. nvbench discards what runs
/// below a share of the device's default clock; here the device itself is the measure.
pub const SLOW_CLOCK: f64 = 0.9;

/// The repetitions of a case that count, together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseConditions {
    /// The clock of the processors: lowest and highest reading, and the median of the repetitions' medians.
    pub clock_mhz: Option<ClockRange>,
    /// The same of the memory.
    pub memory_clock_mhz: Option<ClockRange>,
    /// The lowest and the highest of the repetitions' median clocks, where they lie further apart than
    /// [`SLOW_CLOCK`].
    pub uneven_clock_mhz: Option<(u32, u32)>,
    /// The highest temperature.
    pub max_temperature_celsius: Option<f64>,
    /// The mean of the power that the device itself told.
    pub mean_watts: Option<f64>,
    /// The share of readings with each reason, where the device tells reasons.
    pub throttle_reasons: Option<BTreeMap<ThrottleReason, f64>>,
}

/// Measurements of a case that are marked as throttled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Throttled {
    /// How many, those included that were repeated.
    pub measurements: usize,
    /// Of how many.
    pub of: usize,
    /// The reasons that mark, over all of them; none where the clock alone was slow.
    pub reasons: BTreeSet<ThrottleReason>,
    /// Whether the figures are theirs, as nothing else is left.
    pub count: bool,
}

impl CaseConditions {
    /// `None` where no repetition has readings.
    pub fn of(result: &RunResult, target: &TargetId, test: &Test) -> Option<Self> {
        let told = result.samples_of(target, test);
        let told: Vec<&DeviceConditions> = told.filter_map(|s| s.conditions.as_ref()).collect();
        if told.is_empty() {
            return None;
        }
        let clocks = told.iter().filter_map(|known| known.clock_mhz);
        let clock_mhz = together(clocks.clone().collect());
        let medians = ClockRange::of(clocks.map(|clock| clock.median).collect());
        let uneven =
            medians.filter(|range| f64::from(range.min) < SLOW_CLOCK * f64::from(range.max));
        let watts: Vec<f64> = told.iter().filter_map(|known| known.mean_watts).collect();
        let temperatures = told
            .iter()
            .filter_map(|known| known.max_temperature_celsius);
        Some(Self {
            clock_mhz,
            memory_clock_mhz: together(told.iter().filter_map(|c| c.memory_clock_mhz).collect()),
            uneven_clock_mhz: uneven.map(|range| (range.min, range.max)),
            max_temperature_celsius: temperatures.max_by(f64::total_cmp),
            mean_watts: (!watts.is_empty()).then(|| watts.iter().sum::<f64>() / watts.len() as f64),
            throttle_reasons: reasons(&told),
        })
    }
}

fn together(clocks: Vec<ClockRange>) -> Option<ClockRange> {
    let medians = ClockRange::of(clocks.iter().map(|clock| clock.median).collect())?;
    Some(ClockRange {
        min: clocks.iter().map(|clock| clock.min).min()?,
        median: medians.median,
        max: clocks.iter().map(|clock| clock.max).max()?,
    })
}

/// Each repetition by its number of readings.
fn reasons(told: &[&DeviceConditions]) -> Option<BTreeMap<ThrottleReason, f64>> {
    let tells = told.iter().filter(|known| known.throttled_share.is_some());
    let readings: usize = tells.clone().map(|known| known.readings).sum();
    if readings == 0 {
        return None;
    }
    let mut shares = BTreeMap::new();
    for known in tells {
        for (&reason, share) in &known.throttle_reasons {
            let part = share * known.readings as f64 / readings as f64;
            *shares.entry(reason).or_insert(0.0) += part;
        }
    }
    Some(shares)
}

impl Throttled {
    /// `None` where nothing was.
    pub fn of(result: &RunResult, target: &TargetId, test: &Test) -> Option<Self> {
        let measured: Vec<&Sample> = result.measured_of(target, test).collect();
        let throttled: Vec<&&Sample> = measured.iter().filter(|s| s.throttled).collect();
        if throttled.is_empty() {
            return None;
        }
        let conditions = throttled.iter().filter_map(|s| s.conditions.as_ref());
        let reasons = conditions.flat_map(|known| known.throttle_reasons.keys().copied());
        Some(Self {
            measurements: throttled.len(),
            of: measured.len(),
            reasons: reasons.filter(|reason| reason.marks()).collect(),
            count: result.samples_of(target, test).any(|s| s.throttled),
        })
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::Nanos;

    use super::*;
    use crate::fixture::{result, sample, target, test};
    use ThrottleReason::{HwThermalSlowdown, SwPowerCap};

    fn told(median: u32, readings: usize, reasons: &[(ThrottleReason, f64)]) -> DeviceConditions {
        DeviceConditions {
            every_ns: Nanos(100_000_000),
            readings,
            clock_mhz: ClockRange::of(vec![median - 10, median, median + 10]),
            memory_clock_mhz: None,
            max_temperature_celsius: Some(f64::from(median) / 20.0),
            mean_watts: Some(400.0),
            throttled_share: Some(0.0),
            throttle_reasons: reasons.iter().copied().collect(),
        }
    }

    fn run(conditions: &[(DeviceConditions, bool)]) -> RunResult {
        let samples = conditions.iter().enumerate();
        let samples = samples.map(|(repetition, (conditions, throttled))| Sample {
            repetition,
            conditions: Some(conditions.clone()),
            throttled: *throttled,
            ..sample(test(8, 2), &[100, 200])
        });
        result(samples.collect())
    }

    #[test]
    fn repetitions_come_together_by_their_readings() {
        let run = run(&[
            (told(1980, 30, &[(SwPowerCap, 0.2)]), false),
            (told(1900, 10, &[(SwPowerCap, 1.0)]), false),
            (told(600, 10, &[(HwThermalSlowdown, 1.0)]), true),
        ]);
        let case = CaseConditions::of(&run, &target(), &test(8, 2)).unwrap();
        let clock = case.clock_mhz.unwrap();
        assert_eq!((clock.min, clock.median, clock.max), (1890, 1940, 1990));
        assert_eq!(
            case.uneven_clock_mhz, None,
            "what doesn't count isn't shown"
        );
        assert_eq!(case.max_temperature_celsius, Some(99.0));
        let capped = case.throttle_reasons.unwrap()[&SwPowerCap];
        assert!((capped - 0.4).abs() < 1e-12, "{capped}");
        let throttled = Throttled::of(&run, &target(), &test(8, 2)).unwrap();
        assert_eq!(
            (throttled.measurements, throttled.of, throttled.count),
            (1, 3, false)
        );
        assert_eq!(throttled.reasons, BTreeSet::from([HwThermalSlowdown]));
    }

    #[test]
    fn figures_of_a_throttled_device_say_so() {
        let run = run(&[(told(600, 10, &[(HwThermalSlowdown, 1.0)]), true)]);
        let throttled = Throttled::of(&run, &target(), &test(8, 2)).unwrap();
        assert!(throttled.count);
    }

    #[test]
    fn clocks_that_lie_apart_are_told() {
        let run = run(&[(told(1980, 10, &[]), false), (told(1500, 10, &[]), false)]);
        let case = CaseConditions::of(&run, &target(), &test(8, 2)).unwrap();
        assert_eq!(case.uneven_clock_mhz, Some((1500, 1980)));
        assert_eq!(Throttled::of(&run, &target(), &test(8, 2)), None);
    }
}
