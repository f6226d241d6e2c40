//! How the repetitions of a case stand in the result, one that is gone on with included, and which are
//! measured again: a round ends with those that were throttled, in the round's order, after a rest, both
//! sides of a pair together.

use std::collections::BTreeMap;
use std::time::Duration;

use mlxbench_core::Device;
use mlxbench_core::results::{Sample, TargetId};

use crate::event::Event;
use crate::rounds::{Case, Runner};
use crate::throttle::{Standing, is_due, retries_left};

impl Runner<'_> {
    fn measured(&self, case: Case) -> impl Iterator<Item = &Sample> {
        let target = &self.plan.targets[case.target].id;
        self.result
            .measured_of(target, &self.plan.tests[case.test].0)
    }

    /// How the repetitions of the case stand that were measured.
    fn standings(&self, case: Case) -> BTreeMap<usize, Standing> {
        let mut standings: BTreeMap<usize, Standing> = BTreeMap::new();
        for sample in self.measured(case) {
            let standing = standings.entry(sample.repetition).or_default();
            standing.attempts += 1;
            standing.throttled = sample.throttled;
        }
        standings
    }

    /// How one repetition of the case stands.
    pub(crate) fn standing(&self, case: Case, repetition: usize) -> Standing {
        let standings = self.standings(case);
        standings.get(&repetition).copied().unwrap_or_default()
    }

    /// The median clocks of all that was measured of the case.
    pub(crate) fn clocks(&self, case: Case) -> Vec<u32> {
        let told = self
            .measured(case)
            .filter_map(|s| s.conditions.as_ref()?.clock_mhz);
        told.map(|clock| clock.median).collect()
    }

    /// Whether a run that is gone on with was done with the test of `cases`: what failed then, or was
    /// left out, is tried again.
    pub(crate) fn is_stopped(&self, cases: &[Case]) -> bool {
        let test = self.plan.tests[cases[0].test].0;
        let stopped = self.result.stopped.iter().find(|known| known.test == test);
        stopped.is_some_and(|stopped| {
            cases.iter().all(|case| {
                let standings = self.standings(*case);
                (0..stopped.repetitions).all(|repetition| standings.contains_key(&repetition))
            })
        })
    }

    /// Whether a run that is gone on with has the repetition already.
    pub(crate) fn is_measured(&self, case: Case, repetition: usize) -> bool {
        self.standing(case, repetition).attempts > 0
    }

    /// The cases that are measured together with this one: it alone, or both sides of its pair.
    fn together(&self, case: Case) -> impl Iterator<Item = Case> {
        let unpaired = |target: usize| TargetId {
            side: None,
            ..self.plan.targets[target].id.clone()
        };
        let own = unpaired(case.target);
        let targets = (0..self.plan.targets.len()).filter(move |&other| unpaired(other) == own);
        let cases = targets.map(move |target| Case { target, ..case });
        cases.filter(|&other| !self.is_set_aside(other))
    }

    /// Retries that a repetition of the case has.
    fn retries(&self, case: Case, repetition: usize) -> usize {
        let retries = self.together(case).map(|case| {
            let standings = self.standings(case);
            let earlier = standings.range(..repetition).map(|(_, standing)| *standing);
            retries_left(earlier, self.plan.settings.throttle_retries)
        });
        retries.min().unwrap_or(0)
    }

    /// Those of `cases` whose repetition `round` is measured again.
    pub(crate) fn to_repeat(&self, cases: &[Case], round: usize) -> Vec<Case> {
        let due = |&&case: &&Case| {
            let together = self.together(case);
            let together: Vec<_> = together.map(|other| self.standing(other, round)).collect();
            let (own, retries) = (self.standing(case, round), self.retries(case, round));
            !self.is_set_aside(case) && is_due(own, &together, retries)
        };
        cases.iter().filter(due).copied().collect()
    }

    /// The device that the case runs on, however steps are handed over to it.
    pub(crate) fn hardware(&self, case: Case) -> Device {
        self.plan.targets[case.target]
            .id
            .placement
            .device
            .hardware()
    }

    /// The rest before a measurement: longer for one that is made again, and for the first on a device
    /// that was just throttled.
    pub(crate) fn rest_before(&mut self, case: Case, attempt: usize) -> Duration {
        let device = self.hardware(case);
        let plan = self.plan;
        match self.hot.remove(&device) || attempt > 0 {
            true => plan.delay.max(plan.throttle_pause),
            false => plan.delay,
        }
    }

    /// Tells what was throttled, once it is recorded, and lets its device rest if that can help.
    pub(crate) fn tell_throttled(&mut self, case: Case, repetition: usize, label: &str, why: &str) {
        let left = self.standing(case, repetition).attempts <= self.retries(case, repetition);
        if left {
            self.hot.insert(self.hardware(case));
        }
        (self.observe)(Event::Throttled {
            case: label,
            why,
            again_after: left.then_some(self.plan.throttle_pause),
        });
    }
}
