//! The run: targets take turns, every case goes to the journal as it ends, and what fails costs
//! its case and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mlxbench_core::Placement;
use mlxbench_core::protocol::{Generate, Load, Loaded};
use mlxbench_core::results::{
    Failure, FailureKind, Harness, Record, Residency, Run, RunResult, Sample, TargetFacts, Verdict,
};

use crate::interrupt::Interrupt;
use crate::journal::{self, Journal};
use crate::plan::{Introduced, Plan};
use crate::process::{Worker, WorkerError};
use crate::schedule::{Shape, Step, schedule};
use crate::{Error, Result, system};

/// What the command line decides.
#[derive(Debug)]
pub struct Options {
    /// Folder of results; the run's files go to `<out>/<name>/`.
    pub out: PathBuf,
    /// Go on with the newest run that was cut short.
    pub resume: bool,
    /// Run only cases whose `target test` contains this.
    pub filter: Option<String>,
    /// This build.
    pub harness: Harness,
}

/// What happens, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run starts: so many repetitions, warm-ups included.
    Started {
        /// Repetitions to run.
        steps: usize,
        /// Where every case is kept.
        journal: &'a Path,
    },
    /// A worker loads its model.
    Loading(&'a str),
    /// A target is compared with the reference.
    Checking(&'a str),
    /// A repetition starts.
    Step(String),
    /// A repetition ended, well or not, or is not needed.
    StepDone,
    /// Something could not be measured.
    Failed(&'a Failure),
}

/// How a run came to its end.
#[derive(Debug)]
pub enum End {
    /// All cases were tried; the result file is there.
    Finished(PathBuf),
    /// The user interrupted; the journal keeps what was measured.
    Interrupted(PathBuf),
    /// Results can't be written any more.
    OutputFailed(Error),
}

/// A run's result, and how it came to its end.
#[derive(Debug)]
pub struct Outcome {
    /// All that was measured.
    pub result: RunResult,
    /// How it ended.
    pub end: End,
    /// Whether a target that isn't optional failed, or computed something that isn't finite.
    pub failed: bool,
}

/// Runs `plan`.
///
/// # Errors
/// When the output folder can't be written to, there is nothing to resume, or the filter matches
/// nothing. Later failures are in the outcome.
pub fn execute(
    plan: &Plan,
    options: &Options,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    let mut steps = schedule(Shape {
        targets: plan.targets.len(),
        tests: plan.tests.len(),
        repetitions: plan.settings.repetitions,
        warmup: plan.settings.warmup,
        residency: plan.settings.residency,
    });
    if let Some(filter) = &options.filter {
        steps.retain(|step| case_name(plan, step).contains(filter));
        if steps.is_empty() {
            return Err(Error::Core(mlxbench_core::Error::Invalid(format!(
                "--filter {filter:?} matches no case; a case is named like `{}`",
                case_name(
                    plan,
                    &Step {
                        target: 0,
                        test: 0,
                        repetition: None
                    }
                )
            ))));
        }
    }
    let (journal, result) = open(plan, options)?;
    observe(Event::Started {
        steps: steps.len(),
        journal: journal.path(),
    });
    let mut runner = Runner {
        plan,
        interrupt,
        journal,
        result,
        workers: BTreeMap::new(),
        given_up: BTreeSet::new(),
        dead_targets: BTreeSet::new(),
        observe,
    };
    let ran = runner.run(&steps);
    Ok(runner.conclude(ran))
}

/// A new journal, or the one to go on with.
fn open(plan: &Plan, options: &Options) -> Result<(Journal, RunResult)> {
    let folder = options.out.join(&plan.name);
    let run = Run {
        name: plan.name.clone(),
        description: plan.description.clone(),
        started: Timestamp::now(),
        mlxbench: options.harness.clone(),
        machine: system::machine(),
        conditions: system::conditions(),
        model: plan.model.clone(),
        settings: plan.settings.clone(),
        tests: plan.tests.iter().map(|(test, _)| *test).collect(),
        targets: plan
            .targets
            .iter()
            .map(|target| target.id.clone())
            .collect(),
    };
    if !options.resume {
        let stem = run.started.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut journal = Journal::create(&folder, &stem)?;
        journal.append(&Record::Run(Box::new(run.clone())))?;
        return Ok((journal, RunResult::new(run)));
    }
    let path = journal::newest(&folder)?;
    let mut result = journal::read(&path)?;
    let then = Run {
        started: run.started,
        conditions: run.conditions.clone(),
        ..result.run.clone()
    };
    if then != run {
        let changed = differing(&then, &run).join(", ");
        return Err(Error::Resume(format!(
            "{} can't be resumed: {changed} changed since; run without --resume",
            path.display()
        )));
    }
    // What failed then is tried again.
    result.failures.clear();
    Ok((Journal::reopen(&path)?, result))
}

/// Names of the parts in which two runs differ.
fn differing(then: &Run, now: &Run) -> Vec<&'static str> {
    let parts = [
        ("the build of mlxbench", then.mlxbench == now.mlxbench),
        ("the machine", then.machine == now.machine),
        ("the model", then.model == now.model),
        ("[measure]", then.settings == now.settings),
        ("the tests", then.tests == now.tests),
        ("the targets", then.targets == now.targets),
    ];
    let differ: Vec<_> = parts
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name)
        .collect();
    if differ.is_empty() {
        vec!["the description"]
    } else {
        differ
    }
}

fn case_name(plan: &Plan, step: &Step) -> String {
    format!(
        "{} {}",
        plan.targets[step.target].id, plan.tests[step.test].0
    )
}

pub(crate) struct Runner<'a> {
    pub(crate) plan: &'a Plan,
    interrupt: &'a Interrupt,
    journal: Journal,
    pub(crate) result: RunResult,
    /// Workers with a loaded model, by target.
    pub(crate) workers: BTreeMap<usize, Worker>,
    /// Cases that failed once.
    given_up: BTreeSet<(usize, usize)>,
    /// Targets that can't run at all.
    dead_targets: BTreeSet<usize>,
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

impl Runner<'_> {
    fn run(&mut self, steps: &[Step]) -> Result<(), Stop> {
        let plan = self.plan;
        let targets: BTreeSet<usize> = steps.iter().map(|step| step.target).collect();
        for &index in &targets {
            if let Err((kind, message)) = &plan.targets[index].worker {
                self.dead_targets.insert(index);
                self.fail(index, None, *kind, message.clone())?;
            }
        }
        self.check_equivalence(&targets)?;
        for step in steps {
            self.step(step)?;
            (self.observe)(Event::StepDone);
        }
        self.record(Record::Finished {
            at: Timestamp::now(),
        })?;
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        if self.interrupt.is_set() {
            return Err(Stop::Interrupted);
        }
        let skipped = self.dead_targets.contains(&step.target)
            || self.given_up.contains(&(step.target, step.test));
        if skipped || self.is_done(step) {
            return Ok(());
        }
        let label = match step.repetition {
            Some(n) => format!(
                "{} {}/{}",
                self.name(step),
                n + 1,
                self.plan.settings.repetitions
            ),
            None => format!("{} warm-up", self.name(step)),
        };
        if !self.make_ready(step.target)? {
            return Ok(());
        }
        (self.observe)(Event::Step(label));
        if !self.interrupt.rest(self.plan.pause) {
            return Err(Stop::Interrupted);
        }
        self.measure(step)
    }

    /// Sees to it that the target's worker has its model loaded. False when it can't be had: the
    /// failure is recorded then.
    pub(crate) fn make_ready(&mut self, target: usize) -> Result<bool, Stop> {
        if self.plan.settings.residency == Residency::OneAtATime {
            self.workers.retain(|&other, _| other == target);
        }
        if self.dead_targets.contains(&target) {
            return Ok(false);
        }
        if self.workers.contains_key(&target) {
            return Ok(true);
        }
        match self.load(target) {
            Ok(worker) => {
                self.workers.insert(target, worker?);
                Ok(true)
            }
            Err(error) => self.give_up_target(target, error).map(|()| false),
        }
    }

    /// Sets a target aside for the rest of the run.
    pub(crate) fn give_up_target(&mut self, target: usize, error: WorkerError) -> Result<(), Stop> {
        let kind = error.kind.ok_or(Stop::Interrupted)?;
        self.workers.remove(&target);
        self.dead_targets.insert(target);
        self.fail(target, None, kind, error.message)
    }

    fn measure(&mut self, step: &Step) -> Result<(), Stop> {
        let (test, prompt) = &self.plan.tests[step.test];
        let worker = self
            .workers
            .get_mut(&step.target)
            .expect("loaded by the caller");
        let generated = worker.generate(Generate {
            context: prompt.context.clone(),
            prompt: prompt.prompt.clone(),
            new_tokens: test.generate_tokens.max(1),
            chunk: self.plan.settings.chunk,
            mode: self.plan.settings.mode,
            stop: Vec::new(),
            logits: None,
        });
        match generated {
            Ok(generated) => {
                let Some(repetition) = step.repetition else {
                    return Ok(());
                };
                let sample = Sample {
                    target: self.plan.targets[step.target].id.clone(),
                    test: *test,
                    repetition,
                    token_ns: generated.token_ns,
                    tokens: generated.tokens,
                    finite: generated.finite,
                    peak_memory_bytes: worker.peak_memory_bytes(),
                    device_peak_bytes: generated.device_peak_bytes,
                };
                Ok(self.record(Record::Sample(sample))?)
            }
            Err(WorkerError { kind: None, .. }) => Err(Stop::Interrupted),
            Err(error) => {
                if !error.leaves_worker_usable() {
                    self.workers.remove(&step.target);
                }
                self.given_up.insert((step.target, step.test));
                let kind = error.kind.unwrap_or(FailureKind::Failed);
                self.fail(step.target, Some(step.test), kind, error.message)
            }
        }
    }

    /// Starts a target's worker and loads the model. The inner error is the journal's.
    fn load(&mut self, target: usize) -> Result<Result<Worker, Stop>, WorkerError> {
        let plan = self.plan;
        let id = &plan.targets[target].id;
        let Ok(introduced) = &plan.targets[target].worker else {
            unreachable!("targets without a worker were set aside at the start")
        };
        (self.observe)(Event::Loading(&id.to_string()));
        let (worker, loaded) = self.start(introduced, &id.placement)?;
        let facts = TargetFacts {
            id: id.clone(),
            identity: introduced.identity.clone(),
            device_description: introduced.device_description.clone(),
            threads: loaded.threads,
            load_ns: vec![loaded.load_ns],
        };
        Ok(self
            .record(Record::Target(facts))
            .map(|()| worker)
            .map_err(Stop::Output))
    }

    /// A new process with the model loaded.
    pub(crate) fn start(
        &self,
        introduced: &Introduced,
        placement: &Placement,
    ) -> Result<(Worker, Loaded), WorkerError> {
        let interrupt = self.interrupt.clone();
        let mut worker = Worker::start(&introduced.command, self.plan.timeout, interrupt)?;
        worker.hello()?;
        let loaded = worker.load(Load {
            model: self.plan.model.folder.clone(),
            placement: placement.clone(),
            threads: Some(self.plan.settings.threads),
        })?;
        Ok((worker, loaded))
    }

    /// Whether a resumed run has the repetition already, or needs no warm-up for the case.
    fn is_done(&self, step: &Step) -> bool {
        let target = &self.plan.targets[step.target].id;
        let mut samples = self
            .result
            .samples_of(target, &self.plan.tests[step.test].0);
        match step.repetition {
            Some(repetition) => samples.any(|sample| sample.repetition == repetition),
            None => samples.count() >= self.plan.settings.repetitions,
        }
    }

    fn fail(
        &mut self,
        target: usize,
        test: Option<usize>,
        kind: FailureKind,
        message: String,
    ) -> Result<(), Stop> {
        let failure = Failure {
            target: self.plan.targets[target].id.clone(),
            test: test.map(|test| self.plan.tests[test].0),
            kind,
            message,
        };
        (self.observe)(Event::Failed(&failure));
        Ok(self.record(Record::Failure(failure))?)
    }

    /// Keeps `record` in memory first, so that a full disk loses nothing that can be shown.
    pub(crate) fn record(&mut self, record: Record) -> Result<()> {
        self.result.apply(record.clone());
        self.journal.append(&record)
    }

    fn name(&self, step: &Step) -> String {
        case_name(self.plan, step)
    }

    fn conclude(self, ran: Result<(), Stop>) -> Outcome {
        let Self {
            plan,
            journal,
            result,
            ..
        } = self;
        let optional = |failure: &Failure| {
            let gone = matches!(
                failure.kind,
                FailureKind::Missing | FailureKind::Unsupported
            );
            gone && plan
                .targets
                .iter()
                .any(|t| t.optional && t.id == failure.target)
        };
        let failed = result.failures.iter().any(|failure| !optional(failure))
            || result.samples.iter().any(|sample| !sample.finite)
            || result.equivalences.iter().any(|equivalence| {
                matches!(equivalence.verdict, Verdict::Different | Verdict::Unchecked)
            });
        let end = match ran {
            Ok(()) => match journal.finish(&result) {
                Ok(path) => End::Finished(path),
                Err(error) => End::OutputFailed(error),
            },
            Err(Stop::Interrupted) => End::Interrupted(journal.path().to_owned()),
            Err(Stop::Output(error)) => End::OutputFailed(error),
        };
        Outcome {
            result,
            end,
            failed,
        }
    }
}
