//! Which measurements of a result count.

use std::collections::BTreeMap;

use super::{PowerMeter, RunResult, Sample, TargetId, Test};

impl RunResult {
    /// A meter that turned out to be broken takes the energy that it told with it.
    pub(super) fn replace_meter(&mut self, meter: PowerMeter) {
        if meter.unavailable.is_some() {
            for sample in &mut self.samples {
                if sample.target.placement.device.hardware() == meter.device {
                    (sample.energy_joules, sample.energy_unavailable) = (None, None);
                }
            }
        }
        self.run.power.retain(|known| known.device != meter.device);
        self.run.power.push(meter);
    }

    /// The repetitions of a target's test that count: of each the measurements of the last attempt, without
    /// those that were throttled unless nothing else is left.
    pub fn samples_of(&self, target: &TargetId, test: &Test) -> impl Iterator<Item = &Sample> {
        let measured: Vec<&Sample> = self.measured_of(target, test).collect();
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        for sample in &measured {
            let attempt = last.entry(sample.repetition).or_default();
            *attempt = sample.attempt.max(*attempt);
        }
        let is_last = |sample: &Sample| last[&sample.repetition] == sample.attempt;
        let is_sound = |sample: &Sample| is_last(sample) && !sample.throttled;
        let any_sound = measured.iter().any(|sample| is_sound(sample));
        let counts = measured.into_iter().filter(|sample| match any_sound {
            true => is_sound(sample),
            false => is_last(sample),
        });
        counts.collect::<Vec<_>>().into_iter()
    }

    /// Every measurement of a target's test, those that don't count included.
    pub fn measured_of(&self, target: &TargetId, test: &Test) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |s| s.target == *target && s.test == *test)
    }
}

#[cfg(test)]
mod tests {
    use crate::Device;
    use crate::results::{Record, migrate};

    use super::*;

    /// Three repetitions of one case, with (repetition, attempt, throttled) of each.
    fn counted(measured: &[(usize, usize, bool)]) -> Vec<(usize, usize)> {
        let mut result = old();
        let one = result.samples[0].clone();
        let samples = measured.iter();
        let samples = samples.map(|&(repetition, attempt, throttled)| Sample {
            repetition,
            attempt,
            throttled,
            ..one.clone()
        });
        result.samples = samples.collect();
        let counted = result.samples_of(&one.target, &one.test);
        counted.map(|s| (s.repetition, s.attempt)).collect()
    }

    fn old() -> RunResult {
        migrate::result(include_str!("../../tests/results/v1.json")).unwrap()
    }

    #[test]
    fn of_a_repetition_the_last_measurement_counts() {
        let retried = [(0, 0, false), (1, 0, true), (1, 1, false), (2, 0, false)];
        assert_eq!(counted(&retried), [(0, 0), (1, 1), (2, 0)]);
        // The other side of a pair was throttled: this one was measured again beside it.
        let pair = [(0, 0, false), (0, 1, false), (1, 0, false)];
        assert_eq!(counted(&pair), [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_was_throttled_counts_only_where_nothing_else_is_left() {
        let some = [(0, 0, false), (1, 0, true), (1, 1, true)];
        assert_eq!(counted(&some), [(0, 0)]);
        let all = [(0, 0, true), (0, 1, true), (1, 0, true)];
        assert_eq!(counted(&all), [(0, 1), (1, 0)]);
    }

    #[test]
    fn a_broken_meter_takes_its_energy_with_it() {
        let mut result = old();
        let sample = &mut result.samples[0];
        sample.energy_joules = Some(3.0);
        let broken = |device| PowerMeter {
            device,
            source: Some("a meter".into()),
            idle_watts: Some(1.0),
            period_ns: None,
            unavailable: Some("it read 0 W".into()),
        };
        let own = sample.target.placement.device.clone();
        let other: Device = "cuda:7".parse().unwrap();
        result.apply(Record::Meter(broken(other)));
        assert_eq!(result.samples[0].energy_joules, Some(3.0));
        result.apply(Record::Meter(broken(own.clone())));
        assert_eq!(result.samples[0].energy_joules, None);
        let meters = result.run.power.iter().filter(|meter| meter.device == own);
        assert_eq!(meters.count(), 1);
    }
}
