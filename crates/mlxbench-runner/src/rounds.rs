//! The heart of a run: round after round in which targets take turns, until each test has been
//! repeated often enough. Every case goes to the journal as it ends, and what fails costs its case
//! and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mlxbench_analysis::{Estimate, metrics};
use mlxbench_core::protocol::{Load, Loaded};
use mlxbench_core::results::{
    Failure, FailureKind, Metric, Record, Residency, RunResult, Stopped, TargetFacts, TargetId,
};
use mlxbench_core::{Device, Scheme};

use crate::event::Event;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::plan::{Introduced, Plan};
use crate::power::Meters;
use crate::process::{Worker, WorkerError};
use crate::stop::{Progress, stop};
use crate::{Error, Result, system};

/// A target's test, by their indices in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) target: usize,
    pub(crate) test: usize,
}

impl Case {
    /// `candle/cpu/f32 pp64+tg16`.
    pub(crate) fn name(self, plan: &Plan) -> String {
        format!(
            "{} {}",
            plan.targets[self.target].id, plan.tests[self.test].0
        )
    }
}

/// A run while it goes on.
pub(crate) struct Runner<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) interrupt: &'a Interrupt,
    journal: Journal,
    pub(crate) result: RunResult,
    pub(crate) meters: Meters,
    /// Workers with a loaded model, by target.
    pub(crate) workers: BTreeMap<usize, Worker>,
    /// Cases that the worker of now has been warmed up for.
    pub(crate) warm: BTreeSet<Case>,
    /// Cases, and targets while they load, whose worker was lost once.
    pub(crate) lost_once: BTreeSet<(usize, Option<usize>)>,
    /// Cases that are not tried any more.
    pub(crate) given_up: BTreeSet<Case>,
    /// Devices that were throttled a moment ago, in a repetition that is measured again.
    pub(crate) hot: BTreeSet<Device>,
    /// Targets that can't run at all.
    pub(crate) dead_targets: BTreeSet<usize>,
    pub(crate) observe: &'a mut dyn FnMut(Event<'_>),
}

/// Why the run stops before its end.
pub(crate) enum Stop {
    Interrupted,
    Output(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Output(error)
    }
}

impl<'a> Runner<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        interrupt: &'a Interrupt,
        journal: Journal,
        result: RunResult,
        meters: Meters,
        observe: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        Self {
            plan,
            interrupt,
            journal,
            result,
            meters,
            workers: BTreeMap::new(),
            warm: BTreeSet::new(),
            lost_once: BTreeSet::new(),
            given_up: BTreeSet::new(),
            hot: BTreeSet::new(),
            dead_targets: BTreeSet::new(),
            observe,
        }
    }

    /// Ends the workers and hands back what is kept.
    pub(crate) fn into_parts(self) -> (Journal, RunResult) {
        (self.journal, self.result)
    }

    /// Runs `cases`, sorted by test, from probes to the last repetition.
    pub(crate) fn run(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let plan = self.plan;
        let targets: BTreeSet<usize> = cases.iter().map(|case| case.target).collect();
        for &index in &targets {
            if let Err((kind, message)) = &plan.targets[index].worker {
                self.dead_targets.insert(index);
                self.fail(index, None, *kind, message.clone(), false)?;
            }
        }
        self.probe(&targets)?;
        self.check_equivalence(&targets)?;
        match &plan.until_decided {
            Some((options, most)) => self.until_decided(cases, options, *most)?,
            None => self.as_often_as_planned(cases)?,
        }
        self.check_tokens(cases)?;
        self.record(Record::Finished {
            at: Timestamp::now(),
            conditions: system::conditions(),
        })?;
        Ok(())
    }

    fn as_often_as_planned(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let settings = &self.plan.settings;
        (self.observe)(Event::Planned(cases.len() * settings.repetitions));
        match settings.residency {
            Residency::Together => self.test_by_test(cases),
            Residency::OneAtATime => self.target_by_target(cases),
        }
    }

    /// Workers stay loaded: each test is repeated to its end before the next.
    fn test_by_test(&mut self, cases: &[Case]) -> Result<(), Stop> {
        for cases in cases.chunk_by(|a, b| a.test == b.test) {
            if self.is_stopped(cases) {
                continue;
            }
            let last = self.plan.settings.repetitions - 1;
            for &case in cases {
                if !self.is_measured(case, last) {
                    self.warm_up(case)?;
                }
            }
            for round in 0.. {
                self.round(cases, round)?;
                if self.stop_test(cases, round)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// One worker at a time: a round takes each target through all tests before the next.
    fn target_by_target(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let mut open: Vec<Case> = cases
            .chunk_by(|a, b| a.test == b.test)
            .filter(|cases| !self.is_stopped(cases))
            .flatten()
            .copied()
            .collect();
        for round in 0.. {
            if open.is_empty() {
                break;
            }
            self.round(&open, round)?;
            let mut stopped = BTreeSet::new();
            for cases in open.chunk_by(|a, b| a.test == b.test) {
                if self.stop_test(cases, round)? {
                    stopped.insert(cases[0].test);
                }
            }
            open.retain(|case| !stopped.contains(&case.test));
        }
        Ok(())
    }

    /// One repetition of each case, and what was throttled of them again.
    pub(crate) fn round(&mut self, cases: &[Case], round: usize) -> Result<(), Stop> {
        let todo = |case: &&Case| !self.is_measured(**case, round);
        let todo: Vec<Case> = cases.iter().filter(todo).copied().collect();
        self.turns(&todo, round)?;
        for _ in todo.len()..cases.len() {
            (self.observe)(Event::StepDone);
        }
        loop {
            let again = self.to_repeat(cases, round);
            if again.is_empty() {
                return Ok(());
            }
            (self.observe)(Event::Planned(again.len()));
            self.turns(&again, round)?;
        }
    }

    /// One measurement of each case, target by target in the round's order.
    fn turns(&mut self, cases: &[Case], round: usize) -> Result<(), Stop> {
        let targets: BTreeSet<usize> = cases.iter().map(|case| case.target).collect();
        let targets: Vec<usize> = targets.into_iter().collect();
        if self.plan.settings.residency == Residency::OneAtATime {
            // The target that ended the last round may begin this one: no process has a part in both.
            self.workers.clear();
            self.warm.clear();
        }
        for target in self.order(&targets, round) {
            for &case in cases.iter().filter(|case| case.target == target) {
                if self.interrupt.is_set() {
                    return Err(Stop::Interrupted);
                }
                self.repeat(case, round)?;
                (self.observe)(Event::StepDone);
            }
        }
        Ok(())
    }

    /// Whether the test of `cases` ends with `round`.
    fn stop_test(&mut self, cases: &[Case], round: usize) -> Result<bool, Stop> {
        let settings = &self.plan.settings;
        let test = self.plan.tests[cases[0].test].0;
        // A run that is gone on with went further than this round.
        if self
            .result
            .samples
            .iter()
            .any(|s| s.test == test && s.repetition > round)
        {
            return Ok(false);
        }
        let live: Vec<&TargetId> = cases
            .iter()
            .filter(|case| !self.is_set_aside(**case))
            .map(|case| &self.plan.targets[case.target].id)
            .collect();
        let half_widths: Vec<Option<f64>> = live
            .iter()
            .flat_map(|target| [Metric::Prefill, Metric::Decode].map(|metric| (target, metric)))
            .map(|(target, metric)| metrics::values(metric, &self.result, target, &test))
            .filter(|values| !values.is_empty())
            .map(|values| Estimate::of(&values)?.relative_half_width())
            .collect();
        let of_test = self.result.samples.iter().filter(|s| s.test == test);
        let seconds = of_test
            .filter_map(|sample| sample.wall_ns)
            .map(|ns| ns.as_secs_f64());
        let progress = Progress {
            rounds: round + 1,
            seconds: seconds.sum(),
            half_widths: &half_widths,
        };
        let Some(reason) = stop(settings, &progress) else {
            if round + 1 >= settings.repetitions {
                (self.observe)(Event::Planned(cases.len()));
            }
            return Ok(false);
        };
        self.record(Record::Stopped(Stopped {
            test,
            repetitions: round + 1,
            reason,
        }))?;
        Ok(true)
    }

    /// Whether the case is not tried any more.
    pub(crate) fn is_set_aside(&self, case: Case) -> bool {
        self.dead_targets.contains(&case.target) || self.given_up.contains(&case)
    }

    /// Sees to it that the target's worker has its model loaded. False when it can't be had: the
    /// failure is recorded then.
    pub(crate) fn make_ready(&mut self, target: usize) -> Result<bool, Stop> {
        if self.plan.settings.residency == Residency::OneAtATime {
            self.workers.retain(|&other, _| other == target);
            self.warm.retain(|case| case.target == target);
        }
        if self.dead_targets.contains(&target) {
            return Ok(false);
        }
        while !self.workers.contains_key(&target) {
            match self.load(target) {
                Ok(worker) => {
                    self.workers.insert(target, worker?);
                }
                Err(error) => {
                    if !self.lose(target, None, error)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Records that a worker failed, at a test or before any. True when it should be tried again,
    /// in a new process: once for each case whose worker was lost.
    pub(crate) fn lose(
        &mut self,
        target: usize,
        test: Option<usize>,
        error: WorkerError,
    ) -> Result<bool, Stop> {
        let kind = error.kind.ok_or(Stop::Interrupted)?;
        let lost = error.loses_worker();
        if lost {
            self.workers.remove(&target);
            self.warm.retain(|case| case.target != target);
        }
        let again = lost && self.lost_once.insert((target, test));
        if !again {
            match test {
                Some(test) => self.given_up.insert(Case { target, test }),
                None => self.dead_targets.insert(target),
            };
        }
        self.fail(target, test, kind, error.message, again)?;
        Ok(again)
    }

    /// Starts a target's worker and loads the model. The inner error is the journal's.
    fn load(&mut self, target: usize) -> Result<Result<Worker, Stop>, WorkerError> {
        let plan = self.plan;
        let id = &plan.targets[target].id;
        let Ok(introduced) = &plan.targets[target].worker else {
            unreachable!("targets without a worker were set aside at the start")
        };
        (self.observe)(Event::Loading(&id.to_string()));
        let (worker, loaded) = self.start(introduced, id, None)?;
        let facts = TargetFacts {
            id: id.clone(),
            identity: introduced.identity.clone(),
            device_description: introduced.device_description.clone(),
            threads: loaded.threads,
            reads: Some(loaded.reads),
            kernels: loaded.kernels,
            storage: loaded.storage,
            load_ns: vec![loaded.load_ns],
        };
        let recorded = self.record(Record::Target(facts));
        Ok(recorded.map(|()| worker).map_err(Stop::Output))
    }

    /// A new process with the model loaded, with its weights quantised and dequantised first where a scheme
    /// is given.
    pub(crate) fn start(
        &self,
        introduced: &Introduced,
        id: &TargetId,
        dequantised: Option<Scheme>,
    ) -> Result<(Worker, Loaded), WorkerError> {
        let mut worker = self.start_empty(introduced)?;
        let loaded = worker.load(Load {
            model: self.plan.model.folder.clone(),
            placement: id.placement.clone(),
            threads: Some(self.plan.threads(id)),
            dequantised,
        })?;
        Ok((worker, loaded))
    }

    /// A new process without a model.
    pub(crate) fn start_empty(&self, introduced: &Introduced) -> Result<Worker, WorkerError> {
        let interrupt = self.interrupt.clone();
        let mut worker = Worker::start(&introduced.command, self.plan.timeout, interrupt)?;
        worker.limit_memory(self.plan.memory_limit_bytes);
        worker.hello()?;
        Ok(worker)
    }

    /// The worker of a target that was made ready.
    pub(crate) fn worker(&mut self, target: usize) -> &mut Worker {
        let worker = self.workers.get_mut(&target);
        worker.expect("the caller made it ready")
    }

    pub(crate) fn fail(
        &mut self,
        target: usize,
        test: Option<usize>,
        kind: FailureKind,
        message: String,
        retried: bool,
    ) -> Result<(), Stop> {
        let failure = Failure {
            target: self.plan.targets[target].id.clone(),
            test: test.map(|test| self.plan.tests[test].0),
            kind,
            message,
            retried,
        };
        (self.observe)(Event::Failed(&failure));
        Ok(self.record(Record::Failure(failure))?)
    }

    /// Keeps `record` in memory first, so that a full disk loses nothing that can be shown.
    pub(crate) fn record(&mut self, record: Record) -> Result<()> {
        self.result.apply(record.clone());
        self.journal.append(&record)
    }
}
