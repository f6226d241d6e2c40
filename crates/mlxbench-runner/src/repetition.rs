//! One case: warm-up until its times are steady, and a repetition with all that is measured beside
//! its timestamps.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use mlxbench_core::Nanos;
use mlxbench_core::results::{PeakSince, Record, Sample, Timeline, Warmup};

use crate::event::Event;
use crate::power::Metered;
use crate::process::WorkerError;
use crate::rounds::{Case, Runner, Stop};
use crate::throttle::throttling;
use crate::work::{Work, work};

/// How far the last two warm-up repetitions of a steady case are apart, as a share of the first.
const STEADY: f64 = 0.05;

/// What a repetition gave.
struct Measured {
    work: Work,
    started: Timestamp,
    wall: Duration,
    timeline: Option<Timeline>,
    metered: Metered,
    peak_memory_bytes: Option<u64>,
    peak_memory_since: PeakSince,
    device_peak_bytes: Option<u64>,
}

impl Runner<'_> {
    /// Runs the case unmeasured until its times are steady, or as often as the config allows.
    pub(crate) fn warm_up(&mut self, case: Case) -> Result<(), Stop> {
        while !self.is_set_aside(case) && self.make_ready(case.target)? {
            match self.try_to_warm_up(case)? {
                Ok(()) => break,
                Err(error) => {
                    self.lose(case.target, Some(case.test), error)?;
                }
            }
        }
        Ok(())
    }

    fn try_to_warm_up(&mut self, case: Case) -> Result<Result<(), WorkerError>, Stop> {
        let settings = &self.plan.settings;
        if settings.max_warmup == 0 || !self.warm.insert(case) {
            return Ok(Ok(()));
        }
        let mut times: Vec<Nanos> = Vec::new();
        let mut steady = false;
        while times.len() < settings.warmup || (!steady && times.len() < settings.max_warmup) {
            let label = format!("{} warm-up", case.name(self.plan));
            (self.observe)(Event::Step(label));
            if self.interrupt.is_set() {
                return Err(Stop::Interrupted);
            }
            let work = match self.work(case) {
                Ok(work) => work,
                Err(error) => return Ok(Err(error)),
            };
            times.extend(work.end_to_end());
            steady = is_steady(&times);
        }
        self.record(Record::Warmup(Warmup {
            target: self.plan.targets[case.target].id.clone(),
            test: self.plan.tests[case.test].0,
            process: self.process(case.target),
            end_to_end_ns: times,
            steady,
        }))?;
        Ok(Ok(()))
    }

    /// Measures repetition `repetition` of the case, a second time in a new process where the
    /// worker is lost for the first time.
    pub(crate) fn repeat(&mut self, case: Case, repetition: usize) -> Result<(), Stop> {
        let attempt = self.standing(case, repetition).attempts;
        loop {
            self.warm_up(case)?;
            if self.is_set_aside(case) || !self.make_ready(case.target)? {
                return Ok(());
            }
            let (name, planned) = (case.name(self.plan), self.plan.settings.repetitions);
            let label = format!("{name} {}/{}", repetition + 1, planned.max(repetition + 1));
            let again = if attempt > 0 { ", again" } else { "" };
            (self.observe)(Event::Step(format!("{label}{again}")));
            if !self.interrupt.rest(self.rest_before(case, attempt)) {
                return Err(Stop::Interrupted);
            }
            let measured = match self.measure(case) {
                Ok(measured) => measured,
                Err(error) => {
                    if self.lose(case.target, Some(case.test), error)? {
                        continue;
                    }
                    return Ok(());
                }
            };
            let Metered {
                energy_joules,
                energy_unavailable,
                conditions,
                broken,
            } = measured.metered;
            let told = conditions.as_ref();
            let mark = told.and_then(|told| throttling(told, &self.clocks(case)));
            let sample = Sample {
                target: self.plan.targets[case.target].id.clone(),
                test: self.plan.tests[case.test].0,
                repetition,
                attempt,
                process: self.process(case.target),
                started: Some(measured.started),
                wall_ns: Some(measured.wall.into()),
                token_ns: measured.work.token_ns,
                tokens: measured.work.tokens,
                finite: measured.work.finite,
                turns: measured.work.turns,
                losses: measured.work.losses,
                requests: measured.work.requests,
                form: measured.work.form,
                peak_memory_bytes: measured.peak_memory_bytes,
                peak_memory_since: measured.peak_memory_since,
                device_peak_bytes: measured.device_peak_bytes,
                timeline: measured.timeline,
                energy_joules,
                energy_unavailable,
                conditions,
                throttled: mark.is_some(),
            };
            // The target can run: a worker that is lost while it loads later on is a new case.
            self.lost_once.remove(&(case.target, None));
            (self.observe)(Event::Measured(&sample));
            self.record(Record::Sample(Box::new(sample)))?;
            if let Some(meter) = broken {
                self.record(Record::Meter(meter))?;
            }
            if let Some(mark) = mark {
                self.tell_throttled(case, repetition, &label, &mark.to_string());
            }
            return Ok(());
        }
    }

    fn measure(&mut self, case: Case) -> Result<Measured, WorkerError> {
        let device = self.hardware(case);
        let worker = self.worker(case.target);
        let peak_memory_since = match worker.reset_peak_memory() {
            true => PeakSince::Repetition,
            false => PeakSince::Process,
        };
        let (started, watching) = (Timestamp::now(), self.meters.watch(&device));
        let start = Instant::now();
        let work = self.work(case);
        let wall = start.elapsed();
        // Of a worker that failed nobody knows whether it was a load.
        let loaded = work.is_ok();
        let metered = self.meters.metered(&device, watching, wall, loaded);
        let work = work?;
        let worker = self.worker(case.target);
        let own = work.device_peak_bytes;
        Ok(Measured {
            // A framework without a count of its own: what it holds now, which on NVIDIA's GPUs is
            // near the peak, as allocators keep what they have had.
            device_peak_bytes: own.or_else(|| worker.device_memory_bytes(&device)),
            peak_memory_bytes: worker.peak_memory_bytes(),
            timeline: worker.take_timeline(),
            work,
            started,
            wall,
            metered,
            peak_memory_since,
        })
    }

    fn work(&mut self, case: Case) -> Result<Work, WorkerError> {
        let plan = self.plan;
        work(plan, case.test, self.worker(case.target))
    }
}

fn is_steady(times: &[Nanos]) -> bool {
    match times {
        [.., before, last] => last.0.abs_diff(before.0) as f64 <= before.0 as f64 * STEADY,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_alike_are_steady() {
        let steady =
            |times: &[u64]| is_steady(&times.iter().copied().map(Nanos).collect::<Vec<_>>());
        assert!(!steady(&[100]));
        assert!(!steady(&[200, 100]));
        assert!(steady(&[200, 100, 105]));
        assert!(!steady(&[200, 100, 106]));
    }
}
