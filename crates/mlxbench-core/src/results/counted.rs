//! Which measurements of a result count.

use std::collections::BTreeMap;

use super::{PowerMeter, Residency, RunResult, Sample, TargetId, Test};

impl RunResult {
    /// Whether both are of one run, in two files.
    pub fn is_same_run(&self, other: &Self) -> bool {
        (self.run.started, &self.run.name) == (other.run.started, &other.run.name)
    }

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

    /// The repetitions of [`samples_of`](Self::samples_of) by the worker process that ran them: by its number
    /// among the target's processes, in whose order they were started. What a process has by luck is in all of
    /// its repetitions, so these aren't independent of each other; processes are.
    pub fn processes_of(&self, target: &TargetId, test: &Test) -> BTreeMap<usize, Vec<&Sample>> {
        let mut processes: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
        for sample in self.samples_of(target, test) {
            let process = self.process_of(sample);
            processes.entry(process).or_default().push(sample);
        }
        processes
    }

    /// Which of its target's processes ran a repetition. Older results don't say: there a worker ran all
    /// repetitions, or one where workers were loaded one at a time. Where one process was asked for, another that
    /// took its place tells nothing of how processes differ.
    fn process_of(&self, sample: &Sample) -> usize {
        let settings = &self.run.settings;
        match (settings.processes, sample.process, settings.residency) {
            (Some(1), ..) => 0,
            (_, Some(process), _) => process,
            (_, None, Residency::Together) => 0,
            (_, None, Residency::OneAtATime) => sample.repetition,
        }
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

    /// The repetitions of each process, of samples with (repetition, process).
    fn by_process(residency: Residency, measured: &[(usize, Option<usize>)]) -> Vec<Vec<usize>> {
        let mut result = old();
        result.run.settings.residency = residency;
        let one = result.samples[0].clone();
        let samples = measured.iter().map(|&(repetition, process)| Sample {
            repetition,
            process,
            ..one.clone()
        });
        result.samples = samples.collect();
        let processes = result.processes_of(&one.target, &one.test).into_values();
        let repetitions = |process: Vec<&Sample>| process.iter().map(|s| s.repetition).collect();
        processes.map(repetitions).collect()
    }

    #[test]
    fn repetitions_belong_to_the_process_that_ran_them() {
        let told = [(0, Some(0)), (1, Some(0)), (2, Some(3)), (3, Some(1))];
        let expected = [vec![0, 1], vec![3], vec![2]];
        assert_eq!(by_process(Residency::Together, &told), expected);
        assert_eq!(by_process(Residency::OneAtATime, &told), expected);
    }

    #[test]
    fn older_results_had_one_process_or_one_a_repetition() {
        let older = [(0, None), (1, None)];
        assert_eq!(by_process(Residency::Together, &older), [[0, 1]]);
        assert_eq!(by_process(Residency::OneAtATime, &older), [[0], [1]]);
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
