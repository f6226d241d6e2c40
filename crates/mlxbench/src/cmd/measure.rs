//! What `run` and `bench` share: a config to plans, plans to results, results to what is printed.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use mlxbench_core::results::{Residency, RunResult, Sides};
use mlxbench_core::text::tell;
use mlxbench_report::{Beside, Format};
use mlxbench_runner::config::Config;
use mlxbench_runner::execute::{End, Options, Outcome, execute};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::plan::{Plan, forecast, plan};
use mlxbench_runner::system::MachineLock;

use super::report::quoted;
use crate::exit::Exit;
use crate::making::Making;
use crate::output::{Progress, print, terminal_width};

/// A plan of each model, all of them before anything is measured: what is wrong with the last one is told at once.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plans(
    configs: &[Config],
    path: &Path,
    sides: Option<&Sides>,
    expected: &[Option<Duration>],
    quiet: bool,
) -> anyhow::Result<Vec<Plan>> {
    // Everything is made before anything is measured.
    let all: Option<Duration> = expected.iter().copied().sum();
    let of_model = |config: &Config| {
        let making = Making::new(quiet).before(all);
        Ok(plan(config, path, sides, &making.watch())?)
    };
    configs.iter().map(of_model).collect()
}

/// About how long the run of each config takes, as `--dry-run` tells, where somebody watches; `None` where that is
/// `unknown`.
pub(crate) fn expected(
    configs: &[Config],
    path: &Path,
    options: &Options,
    unknown: bool,
) -> Vec<Option<Duration>> {
    let watched = !unknown && io::stderr().is_terminal();
    let seconds = |config: &Config| {
        // Programs of others may take long to answer, and are asked again when the run is planned.
        let watched = watched && config.backends.is_empty();
        // What is wrong with it is told when it is planned.
        let forecast =
            watched.then(|| forecast(config, path, &options.out, options.filter.as_deref()));
        let [least, most] = forecast?.ok()?.seconds?;
        // Both are factors of one time.
        Duration::try_from_secs_f64((least * most).sqrt()).ok()
    };
    configs.iter().map(seconds).collect()
}

/// The configs of the models whose source contains `pattern`, or of all.
///
/// # Errors
/// When no model's does.
pub(crate) fn of_models(config: &Config, pattern: Option<&str>) -> anyhow::Result<Vec<Config>> {
    let pattern = pattern.unwrap_or_default();
    let mut configs = config.of_each_model();
    configs.retain(|one| one.models.first().source.contains(pattern));
    if configs.is_empty() {
        let sources = config.models.values().iter();
        let sources: Vec<&str> = sources.map(|model| model.source.as_str()).collect();
        bail!(
            "--model {pattern:?} matches none of the config's models: {}",
            sources.join(", ")
        );
    }
    Ok(configs)
}

/// What came of plans, model by model.
pub(crate) struct Measured {
    /// All that was measured, up to the model at which the run was cut short.
    pub(crate) results: Vec<RunResult>,
    ends: Vec<(End, bool)>,
    /// What kept a later model from being begun.
    failure: Option<mlxbench_runner::Error>,
    /// The sources of the models that weren't begun.
    not_begun: Vec<String>,
}

/// How a run that was cut short is continued.
#[derive(Clone, Copy)]
pub(crate) enum Resume {
    /// By `--resume`.
    Flag,
    /// By a config that holds what the command line said.
    Config,
}

impl Measured {
    /// Whether every model came to its end.
    pub(crate) fn finished(&self) -> bool {
        let finished = |(end, _): &(End, bool)| matches!(end, End::Finished(_));
        self.failure.is_none() && self.ends.iter().all(finished)
    }

    /// What to do with the results that were written.
    fn next_command(&self) -> Option<String> {
        let written = self.ends.iter().filter_map(|(end, _)| match end {
            End::Finished(path) => Some(quoted(path)),
            End::Interrupted(_) | End::OutputFailed(_) => None,
        });
        let written: Vec<String> = written.collect();
        let name = &self
            .results
            .first()
            .filter(|_| !written.is_empty())?
            .run
            .name;
        let page = quoted(Path::new(&format!("{name}.html")));
        Some(format!("mlxbench report {} -o {page}", written.join(" ")))
    }

    /// Prints the results together and says where they are; what the exit code is.
    pub(crate) fn show(&self, format: Format, quiet: bool, resume: Resume) -> Exit {
        let beside = Beside {
            next: self.next_command(),
            ..Beside::default()
        };
        let table = mlxbench_report::render(&self.results, &beside, format);
        // The table goes out even when a result file could not be written.
        let printed = print(&table);
        let ends = self.ends.iter().zip(&self.results);
        let several = self.ends.len() + self.not_begun.len() > 1;
        let way = |result: &RunResult| match (resume, several) {
            (Resume::Flag, false) => "--resume".to_owned(),
            (Resume::Flag, true) => format!("--resume --model {}", result.run.model.source),
            (Resume::Config, _) => {
                "`mlxbench run FILE --resume`, where FILE has what --print-config prints".into()
            }
        };
        let exits =
            ends.map(|((end, failed), result)| conclude(end, *failed, result, quiet, &way(result)));
        let mut exit = exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Fine);
        if let Some(failure) = &self.failure {
            tell(format_args!("error: {failure}"));
            exit = Exit::Degraded;
        }
        if !self.not_begun.is_empty() {
            tell(format_args!("not begun: {}", self.not_begun.join(", ")));
        }
        match printed {
            Ok(()) => exit,
            Err(error) => {
                // The run is measured and kept: what it came to is told all the same.
                tell(format_args!("error: the table can't be printed: {error:#}"));
                match exit {
                    Exit::Fine => Exit::Degraded,
                    exit => exit,
                }
            }
        }
    }
}

/// Runs plan after plan, until one is cut short.
///
/// # Errors
/// As [`execute`], for the first plan; what stops a later one is kept beside what was measured before it.
pub(crate) fn measure(
    plans: &[Plan],
    expected: &[Option<Duration>],
    lock: &MachineLock,
    options: &Options,
    interrupt: &Interrupt,
    quiet: bool,
) -> anyhow::Result<Measured> {
    let mut measured = Measured {
        results: Vec::new(),
        ends: Vec::new(),
        failure: None,
        not_begun: Vec::new(),
    };
    for (at, (plan, expected)) in plans.iter().zip(expected).enumerate() {
        if !quiet {
            introduce(plan);
        }
        let targets = plan.targets.iter().map(|target| &target.id);
        let mut progress = Progress::new(quiet, targets, *expected);
        let outcome = execute(plan, lock, options, interrupt, &mut |event| {
            progress.show(&event)
        });
        progress.finish();
        match outcome {
            Ok(Outcome {
                result,
                end,
                failed,
            }) => {
                measured.results.push(result);
                measured.ends.push((end, failed));
            }
            Err(error) if at == 0 => return Err(error.into()),
            Err(error) => measured.failure = Some(error),
        }
        if !measured.finished() {
            let rest = plans.iter().skip(measured.results.len());
            measured.not_begun = rest.map(|plan| plan.model.source.clone()).collect();
            break;
        }
    }
    Ok(measured)
}

/// The table that a person reads.
pub(crate) fn table() -> Format {
    Format::Terminal {
        width: terminal_width(),
    }
}

fn introduce(plan: &Plan) {
    tell(format_args!(
        "model: {} in {}",
        plan.model.source,
        plan.model.folder.display()
    ));
    if let Some(reason) = &plan.model.fallback_reason {
        tell(format_args!("the config's fallback was taken: {reason}"));
    }
    let one_at_a_time = plan.settings.residency == Residency::OneAtATime;
    if one_at_a_time && plan.residency_by_memory && plan.sides.is_none() {
        tell("memory is too small for all models together: workers are loaded one at a time");
    }
}

fn conclude(end: &End, failed: bool, result: &RunResult, quiet: bool, resume: &str) -> Exit {
    match end {
        End::Finished(path) => {
            if !quiet {
                tell(format_args!("result: {}", path.display()));
            }
            // Optional targets may be missing, but not all of them.
            match failed || result.samples.is_empty() {
                true => Exit::Degraded,
                false => Exit::Fine,
            }
        }
        End::Interrupted(journal) => {
            tell(format_args!(
                "interrupted: {} repetitions are kept in {}; continue with {resume}",
                result.samples.len(),
                journal.display()
            ));
            Exit::Interrupted
        }
        End::OutputFailed(error) => {
            tell(format_args!(
                "error: results can't be written: {error}; the run stopped, what was measured is \
                 printed above, and what was written before can be continued with {resume}"
            ));
            Exit::Degraded
        }
    }
}
