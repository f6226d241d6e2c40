//! The heart of a run: process after process of each target, and in these round after round in which targets
//! take turns, until each test has been repeated often enough. Every case goes to the journal as it ends, and what fails costs its case
//! and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::Timestamp;
use mlxbench_analysis::Estimate;
use mlxbench_analysis::metrics::values_by_process;
use mlxbench_core::protocol::{Load, Loaded};
use mlxbench_core::results::{
    Failure, FailureKind, Record, Residency, RunResult, Stopped, TargetFacts, TargetId,
};
use mlxbench_core::{Device, Scheme};

use crate::event::Event;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::plan::{Introduced, Plan};
use crate::power::Meters;
use crate::process::{Worker, WorkerError};
use crate::schedule::rounds_of;
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

/// `cases` in one round.
fn on(cases: &[Case], round: usize) -> impl Iterator<Item = (Case, usize)> {
    cases.iter().map(move |&case| (case, round))
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
        self.check_tests(cases)?;
        match &plan.until_decided {
            Some((options, most)) => self.until_decided(cases, options, *most)?,
            None => {
                (self.observe)(Event::Planned(cases.len() * plan.settings.repetitions));
                self.process_by_process(cases)?;
            }
        }
        self.check_tokens(cases)?;
        self.record(Record::Finished {
            at: Timestamp::now(),
            conditions: system::conditions(),
        })?;
        Ok(())
    }

    /// Each target's first process, then each one's second, until no test is repeated any more.
    fn process_by_process(&mut self, cases: &[Case]) -> Result<(), Stop> {
        let settings = &self.plan.settings;
        let by_test = cases.chunk_by(|a, b| a.test == b.test);
        let mut open: Vec<&[Case]> = by_test.filter(|cases| !self.is_stopped(cases)).collect();
        for process in 0.. {
            if open.is_empty() {
                break;
            }
            let rounds = rounds_of(process, settings);
            let mut going_on = Vec::new();
            match settings.residency {
                Residency::Together => {
                    if process > 0 && settings.processes() > 1 {
                        self.end_workers();
                    }
                    for cases in open {
                        if !self.test(cases, rounds.clone())? {
                            going_on.push(cases);
                        }
                    }
                }
                Residency::OneAtATime => {
                    self.plan_beyond(&open.concat(), rounds.clone());
                    self.rounds(&open.concat(), rounds.clone())?;
                    for cases in open {
                        if !self.stop_test(cases, rounds.end - 1)? {
                            going_on.push(cases);
                        }
                    }
                }
            }
            open = going_on;
        }
        Ok(())
    }

    /// The rounds of one test, while workers stay loaded. Returns whether the test ends with one of them.
    fn test(&mut self, cases: &[Case], rounds: Range<usize>) -> Result<bool, Stop> {
        for &case in cases {
            if !rounds.clone().all(|round| self.is_measured(case, round)) {
                self.warm_up(case)?;
            }
        }
        for round in rounds {
            self.plan_beyond(cases, round..round + 1);
            self.rounds(cases, round..round + 1)?;
            if self.stop_test(cases, round)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells of those of `rounds` that are more than the repetitions that are planned at least.
    fn plan_beyond(&mut self, cases: &[Case], rounds: Range<usize>) {
        let beyond = rounds.end.saturating_sub(self.plan.settings.repetitions);
        if beyond > 0 {
            (self.observe)(Event::Planned(cases.len() * beyond.min(rounds.len())));
        }
    }

    /// One repetition of each case in each of `rounds`, and what was throttled of them again.
    pub(crate) fn rounds(&mut self, cases: &[Case], rounds: Range<usize>) -> Result<(), Stop> {
        let all = rounds.clone().flat_map(|round| on(cases, round));
        let (done, todo): (Vec<_>, Vec<_>) = all.partition(|&(case, r)| self.is_measured(case, r));
        self.turns(&todo)?;
        for _ in done {
            (self.observe)(Event::StepDone);
        }
        for round in rounds {
            loop {
                let again = self.to_repeat(cases, round);
                if again.is_empty() {
                    break;
                }
                (self.observe)(Event::Planned(again.len()));
                self.turns(&on(&again, round).collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    /// One measurement of each case and round, target by target in the order of the first round.
    fn turns(&mut self, todo: &[(Case, usize)]) -> Result<(), Stop> {
        let Some(&(_, first)) = todo.first() else {
            return Ok(());
        };
        let targets: BTreeSet<usize> = todo.iter().map(|(case, _)| case.target).collect();
        let targets: Vec<usize> = targets.into_iter().collect();
        if self.plan.settings.residency == Residency::OneAtATime {
            // The target that ended the last turns may begin these: no process has a part in both.
            self.end_workers();
        }
        for target in self.order(&targets, first) {
            for &(case, round) in todo.iter().filter(|(case, _)| case.target == target) {
                if self.interrupt.is_set() {
                    return Err(Stop::Interrupted);
                }
                self.repeat(case, round)?;
                (self.observe)(Event::StepDone);
            }
        }
        Ok(())
    }

    fn end_workers(&mut self) {
        self.workers.clear();
        self.warm.clear();
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
            .flat_map(|target| test.leading().map(move |metric| (target, metric)))
            .map(|(target, metric)| values_by_process(metric, &self.result, target, &test))
            .filter(|processes| !processes.is_empty())
            .map(|processes| Estimate::of_processes(&processes)?.relative_half_width())
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

    /// Which of its target's processes the one of now is: an index into the load times.
    pub(crate) fn process(&self, target: usize) -> Option<usize> {
        let id = &self.plan.targets[target].id;
        let facts = self.result.targets.iter().find(|facts| facts.id == *id);
        facts?.load_ns.len().checked_sub(1)
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
