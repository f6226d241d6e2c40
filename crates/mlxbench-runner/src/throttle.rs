//! Which repetitions are marked as throttled, and which are measured again.

use std::fmt;

use mlxbench_analysis::conditions::SLOW_CLOCK;
use mlxbench_core::results::{ClockRange, DeviceConditions, ThrottleReason};

/// Why a repetition is marked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mark {
    /// The device told why it lowered its clock.
    Reasons(Vec<ThrottleReason>),
    /// The median clock was below [`SLOW_CLOCK`] of the other repetitions'.
    SlowClock { mhz: u32, usual_mhz: u32 },
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reasons(reasons) => {
                let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
                f.write_str(&names.join(", "))
            }
            Self::SlowClock { mhz, usual_mhz } => {
                write!(f, "a clock of {mhz} MHz, {usual_mhz} in other repetitions")
            }
        }
    }
}

/// Whether a repetition under `conditions` is marked; `others` are the median clocks of all other measurements
/// of its case, the marked ones included: of a device that stays slow, the slow clock is the usual one.
pub(crate) fn throttling(conditions: &DeviceConditions, others: &[u32]) -> Option<Mark> {
    let readings = |reason| {
        let share = conditions.throttle_reasons.get(&reason).copied();
        (share.unwrap_or(0.0) * conditions.readings as f64).round() as usize
    };
    let marks = |&reason: &ThrottleReason| {
        let least = match reason {
            // Told for a moment when clocks change, too (NVML, `nvmlClocksEventReasonHwSlowdown`).
            ThrottleReason::HwSlowdown if conditions.readings > 1 => 2,
            _ => 1,
        };
        reason.marks() && readings(reason) >= least
    };
    let reasons = conditions.throttle_reasons.keys().copied();
    let reasons: Vec<ThrottleReason> = reasons.filter(marks).collect();
    if !reasons.is_empty() {
        return Some(Mark::Reasons(reasons));
    }
    // A power limit explains a low clock: the device does what it can do.
    if 2 * readings(ThrottleReason::SwPowerCap) >= conditions.readings.max(1) {
        return None;
    }
    let mhz = conditions.clock_mhz?.median;
    let usual_mhz = ClockRange::of(others.to_vec())?.median;
    let slow = f64::from(mhz) < SLOW_CLOCK * f64::from(usual_mhz);
    slow.then_some(Mark::SlowClock { mhz, usual_mhz })
}

/// How a repetition of a case stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How often it was measured.
    pub(crate) attempts: usize,
    /// Whether it was throttled when it was measured last.
    pub(crate) throttled: bool,
}

/// Whether a case is measured again that stands like `own` among those that belong `together`, itself alone or
/// the two sides of a pair: all are where one of them was throttled and `retries` are left; else those
/// that a kill left behind the others.
pub(crate) fn is_due(own: Standing, together: &[Standing], retries: usize) -> bool {
    let most = together.iter().map(|standing| standing.attempts).max();
    let most = most.unwrap_or(0);
    match together.iter().all(|standing| standing.attempts == most) {
        true => {
            let throttled = together.iter().any(|standing| standing.throttled);
            throttled && (1..=retries).contains(&most)
        }
        false => (1..most).contains(&own.attempts),
    }
}

/// Retries of a case's next repetition, by how its earlier ones stand: none once all of a repetition's were
/// in vain, so that a device which stays hot doesn't hold up a run for hours.
pub(crate) fn retries_left(mut earlier: impl Iterator<Item = Standing>, retries: usize) -> usize {
    let in_vain = |known: Standing| known.throttled && known.attempts > retries;
    match earlier.any(in_vain) {
        true => 0,
        false => retries,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlxbench_core::Nanos;

    use super::*;
    use ThrottleReason::{HwPowerBrake, HwSlowdown, HwThermalSlowdown, SwPowerCap};

    /// Ten readings.
    fn told(median: u32, reasons: &[(ThrottleReason, f64)]) -> DeviceConditions {
        DeviceConditions {
            every_ns: Nanos(100_000_000),
            readings: 10,
            clock_mhz: ClockRange::of(vec![median]),
            memory_clock_mhz: None,
            max_temperature_celsius: None,
            mean_watts: None,
            throttled_share: None,
            throttle_reasons: BTreeMap::from_iter(reasons.iter().copied()),
        }
    }

    #[test]
    fn heat_and_a_power_brake_mark_a_repetition_and_a_power_limit_does_not() {
        let hot = told(900, &[(SwPowerCap, 0.9), (HwThermalSlowdown, 0.1)]);
        assert_eq!(
            throttling(&hot, &[]),
            Some(Mark::Reasons(vec![HwThermalSlowdown]))
        );
        let braked = told(900, &[(HwSlowdown, 0.5), (HwPowerBrake, 0.5)]);
        let why = throttling(&braked, &[]).unwrap().to_string();
        assert_eq!(why, "hw_slowdown, hw_power_brake");
        assert_eq!(throttling(&told(1400, &[(SwPowerCap, 1.0)]), &[1980]), None);
    }

    #[test]
    fn a_single_slowdown_among_many_readings_is_a_change_of_clocks() {
        assert_eq!(throttling(&told(1980, &[(HwSlowdown, 0.1)]), &[]), None);
        assert!(throttling(&told(1980, &[(HwSlowdown, 0.2)]), &[]).is_some());
        let only = DeviceConditions {
            readings: 1,
            ..told(1980, &[(HwSlowdown, 1.0)])
        };
        assert!(throttling(&only, &[]).is_some());
    }

    #[test]
    fn a_clock_far_below_the_usual_one_marks_a_repetition() {
        let slow = throttling(&told(1700, &[]), &[1980, 1950, 1990]);
        let why = slow.unwrap().to_string();
        assert_eq!(why, "a clock of 1700 MHz, 1980 in other repetitions");
        assert_eq!(throttling(&told(1790, &[]), &[1980, 1950, 1990]), None);
        assert_eq!(
            throttling(&told(300, &[]), &[]),
            None,
            "nothing to compare with"
        );
        let capped = told(1700, &[(SwPowerCap, 0.5)]);
        assert_eq!(
            throttling(&capped, &[1980]),
            None,
            "its power limit explains it"
        );
        let hardly = told(1700, &[(SwPowerCap, 0.4)]);
        assert!(throttling(&hardly, &[1980]).is_some());
    }

    #[test]
    fn one_fast_start_does_not_mark_all_that_follows() {
        // The first ran at a boost; the second was marked, and measured again in vain.
        assert_eq!(throttling(&told(1600, &[]), &[1980, 1600, 1600]), None);
    }

    fn standing(attempts: usize, throttled: bool) -> Standing {
        Standing {
            attempts,
            throttled,
        }
    }

    /// Which of those that belong together are measured again.
    fn again(together: &[Standing], retries: usize) -> Vec<bool> {
        let due = together.iter().map(|&own| is_due(own, together, retries));
        due.collect()
    }

    #[test]
    fn a_throttled_repetition_is_measured_again_up_to_the_limit() {
        let one = |attempts, throttled| again(&[standing(attempts, throttled)], 2)[0];
        assert!(one(1, true) && one(2, true) && !one(3, true));
        assert!(!one(1, false) && !one(2, false));
        assert!(!one(0, false), "a case that failed has nothing to repeat");
        assert_eq!(again(&[standing(1, true)], 0), [false]);
    }

    #[test]
    fn a_pair_is_measured_again_together() {
        let sides = |a, b| again(&[a, b], 2);
        assert_eq!(sides(standing(1, true), standing(1, false)), [true, true]);
        assert_eq!(
            sides(standing(1, false), standing(1, false)),
            [false, false]
        );
        assert_eq!(sides(standing(3, false), standing(3, true)), [false, false]);
        // A kill came between the sides.
        assert_eq!(sides(standing(2, false), standing(1, true)), [false, true]);
        assert_eq!(sides(standing(1, true), standing(0, false)), [false, false]);
    }

    #[test]
    fn retries_end_once_they_were_in_vain() {
        let left = |earlier: &[Standing], retries| retries_left(earlier.iter().copied(), retries);
        assert_eq!(left(&[standing(1, false), standing(3, false)], 2), 2);
        assert_eq!(left(&[standing(3, true), standing(1, false)], 2), 0);
        assert_eq!(left(&[standing(1, true)], 0), 0);
    }
}
