//! A run from its beginning to its end: opening the journal, a new one or the one to go on with,
//! and what is left behind.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mlxbench_core::results::{
    Equivalence, Failure, FailureKind, Harness, Record, Run, RunResult, Sample, Settings, Side,
    Sides, TargetId, Test, TestCheck, Verdict,
};

use crate::baselines::{Wanted, newest_result};
use crate::event::Event;
use crate::interrupt::Interrupt;
use crate::journal::{self, Journal, STEM};
use crate::plan::{Plan, Target};
use crate::power::Meters;
use crate::rounds::{Case, Runner, Stop};
use crate::system::MachineLock;
use crate::{Error, Result, prompt, system};

/// What the command line decides.
#[derive(Debug)]
pub struct Options {
    /// Folder of results; the run's files go to `<out>/<name>/`.
    pub out: PathBuf,
    /// Go on with the newest run that was cut short, or with the newest result when more repetitions are asked
    /// for.
    pub resume: bool,
    /// Run only cases whose `target test` contains this.
    pub filter: Option<String>,
    /// This build.
    pub harness: Harness,
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
    /// Whether a target that isn't optional failed, or any computed something that isn't finite or isn't
    /// the same. Side a doesn't count.
    pub failed: bool,
}

/// Runs `plan` while `lock` is held, which was taken before anything heavy was started for it.
///
/// # Errors
/// When the output folder can't be written to, there is nothing to resume, or the filter matches
/// nothing. Later failures are in the outcome.
pub fn execute(
    plan: &Plan,
    lock: &MachineLock,
    options: &Options,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    let cases = cases(plan, options)?;
    if let Some(warning) = lock.warning() {
        observe(Event::Warning(warning));
    }
    let mut meters = Meters::open(plan);
    let (journal, result) = open(plan, options, &mut meters)?;
    // From here on there is something to keep.
    let _heeding = interrupt.heed();
    observe(Event::Started {
        journal: journal.path(),
    });
    let mut runner = Runner::new(plan, interrupt, journal, result, meters, observe);
    let ran = runner.run(&cases);
    let (journal, result) = runner.into_parts();
    Ok(conclude(plan, journal, result, ran))
}

/// The cases that the filter lets through, test by test.
fn cases(plan: &Plan, options: &Options) -> Result<Vec<Case>> {
    let all = (0..plan.tests.len())
        .flat_map(|test| (0..plan.targets.len()).map(move |target| Case { target, test }));
    let Some(filter) = &options.filter else {
        return Ok(all.collect());
    };
    let cases: Vec<Case> = all
        .filter(|case| {
            let (test, _) = &plan.tests[case.test];
            lets_through(filter, &plan.targets[case.target].id, test)
        })
        .collect();
    if cases.is_empty() {
        return Err(no_case(filter, &plan.targets[0].id, &plan.tests[0].0));
    }
    Ok(cases)
}

/// That `filter` lets nothing through, with a case as an example of a name.
pub(crate) fn no_case(filter: &str, target: &TargetId, test: &Test) -> Error {
    let name = case_name(target, test);
    Error::Core(mlxbench_core::Error::Invalid(format!(
        "--filter {filter:?} matches no case; a case is named like `{name}`"
    )))
}

/// Whether a filter lets a target's test through, on both sides if it has two.
pub fn lets_through(filter: &str, target: &TargetId, test: &Test) -> bool {
    case_name(target, test).contains(filter)
}

/// `candle/cpu/f32 pp64+tg16`.
fn case_name(target: &TargetId, test: &Test) -> String {
    let target = TargetId {
        side: None,
        ..target.clone()
    };
    format!("{target} {test}")
}

/// A new journal, or the one to go on with.
fn open(plan: &Plan, options: &Options, meters: &mut Meters) -> Result<(Journal, RunResult)> {
    let folder = options.out.join(&plan.name);
    let mut run = Run {
        name: plan.name.clone(),
        description: plan.description.clone(),
        started: Timestamp::now(),
        mlxbench: options.harness.clone(),
        machine: system::machine(),
        conditions: system::conditions(),
        power: meters.facts(),
        model: plan.model.clone(),
        settings: plan.settings.clone(),
        tests: plan.tests.iter().map(|(test, _)| *test).collect(),
        prompts_sha256: Some(prompt::sha256(plan.tests.iter().map(|(_, prompt)| prompt))),
        targets: plan
            .targets
            .iter()
            .map(|target| target.id.clone())
            .collect(),
        sides: plan.sides.clone(),
        config: Some(plan.config.clone()),
    };
    if !options.resume {
        let stem = run.started.strftime(STEM).to_string();
        let journal = Journal::create(&folder, &stem, &run)?;
        return Ok((journal, RunResult::new(run)));
    }
    let (path, mut result) = to_go_on_with(&folder, &run.settings)?;
    adopt_order(&mut run, &result.run);
    let then = Run {
        started: run.started,
        conditions: run.conditions.clone(),
        power: run.power.clone(),
        // What matters of it is compared part by part.
        config: run.config.clone(),
        ..result.run.clone()
    };
    if then != run {
        let changed = differing(&then, &run).join(", ");
        let way = match path.exists() {
            true => "run without --resume, or remove it to go on with the newest result",
            false => "run without --resume",
        };
        return Err(Error::Resume(format!(
            "{} can't be resumed: {changed} changed since; {way}",
            path.display()
        )));
    }
    if let Some(target) = plan
        .targets
        .iter()
        .find(|target| is_another(target, &result))
    {
        return Err(Error::Resume(format!(
            "{} can't be resumed: the framework or a library of {} changed since; run without \
             --resume",
            path.display(),
            target.id
        )));
    }
    meters.adopt(&result.run.power);
    let resumed = Record::Resumed { at: run.started };
    let mut journal = match path.exists() {
        true => Journal::reopen(&path)?,
        false => Journal::of(&path, &result)?,
    };
    journal.append(&resumed)?;
    result.apply(resumed);
    Ok((journal, result))
}

/// The run that [`Options::resume`] goes on with, as it is now.
///
/// # Errors
/// When there is none.
pub fn goes_on_with(plan: &Plan, options: &Options) -> Result<RunResult> {
    let (_, result) = to_go_on_with(&options.out.join(&plan.name), &plan.settings)?;
    Ok(result)
}

/// The journal of the run that was cut short last, or where there is none that of the newest result, with its tests
/// open again, when that has fewer repetitions than are asked for now.
fn to_go_on_with(folder: &Path, settings: &Settings) -> Result<(PathBuf, RunResult)> {
    let nothing = match journal::newest(folder) {
        Ok(path) => {
            let result = journal::read(&path)?;
            return Ok((path, result));
        }
        Err(nothing) => nothing,
    };
    let Ok((file, mut result)) = newest_result(folder, Wanted::OneSide) else {
        return Err(match newest_result(folder, Wanted::TwoSides) {
            Ok((file, _)) => Error::Resume(format!(
                "nothing to resume: {} is of --ab and came to its end",
                file.display()
            )),
            Err(_) => nothing,
        });
    };
    let known = &mut result.run.settings;
    if known.repetitions >= settings.repetitions {
        return Err(Error::Resume(format!(
            "nothing to resume: {} came to its end, with {} repetitions; --repetitions asks for more",
            file.display(),
            known.repetitions
        )));
    }
    known.repetitions = settings.repetitions;
    known.processes = settings.processes;
    known.max_repetitions = settings.max_repetitions;
    result.stopped.clear();
    Ok((journal::beside(&file), result))
}

/// Goes on in the order that was drawn then, for as long as is asked now.
fn adopt_order(run: &mut Run, then: &Run) {
    let sequence = |sides: &Option<Sides>| sides.as_ref()?.sequence.clone();
    let known = sequence(&then.sides);
    let now = run.sides.as_mut().and_then(|sides| sides.sequence.as_mut());
    if let Some((now, known)) = now.zip(known) {
        now.order_seed = known.order_seed;
        now.max_seconds = known.max_seconds;
    }
}

/// Whether the target's worker isn't what it was when `result` was measured.
fn is_another(target: &Target, result: &RunResult) -> bool {
    let known = result.targets.iter().find(|facts| facts.id == target.id);
    let now = target.worker.as_ref().ok();
    known
        .zip(now)
        .is_some_and(|(known, now)| known.identity != now.identity)
}

/// Names of the parts in which two runs differ.
fn differing(then: &Run, now: &Run) -> Vec<&'static str> {
    let parts = [
        ("the build of mlxbench", then.mlxbench == now.mlxbench),
        ("the machine", then.machine == now.machine),
        ("the model", then.model == now.model),
        ("[measure]", then.settings == now.settings),
        ("the tests", then.tests == now.tests),
        ("the prompt", then.prompts_sha256 == now.prompts_sha256),
        ("the targets", then.targets == now.targets),
        ("--ab", then.sides == now.sides),
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

fn conclude(plan: &Plan, journal: Journal, result: RunResult, ran: Result<(), Stop>) -> Outcome {
    let optional = |failure: &Failure| {
        let gone = matches!(
            failure.kind,
            FailureKind::Missing | FailureKind::Unsupported
        );
        let mut targets = plan.targets.iter();
        gone && targets.any(|target| target.optional && target.id == failure.target)
    };
    // What is wrong with the build that another is compared with is no fault of this one.
    let counts = |target: &TargetId| target.side != Some(Side::A);
    let lost = |failure: &&Failure| !failure.retried && !optional(failure);
    let mut failures = result.failures.iter().filter(lost);
    let infinite = |sample: &Sample| counts(&sample.target) && !sample.finite;
    let other = |known: &Equivalence| {
        let unchecked = plan.check.is_some() && known.verdict == Verdict::Unchecked;
        counts(&known.target) && (unchecked || known.verdict == Verdict::Different)
    };
    let other_in_test = |known: &TestCheck| {
        counts(&known.target) && matches!(known.verdict, Verdict::Different | Verdict::Unchecked)
    };
    let failed = failures.any(|failure| counts(&failure.target))
        || result.samples.iter().any(infinite)
        || result.equivalences.iter().any(other)
        || result.checks.iter().any(other_in_test);
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
