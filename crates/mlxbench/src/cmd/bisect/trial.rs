//! What happens to each commit of a bisection: it is built, and measured beside the good build.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use mlxbench_analysis::comparison::Options;
use mlxbench_analysis::{Change, ComparedRow, Comparison, Interval, compare_sides};
use mlxbench_core::results::{TargetId, Test};
use mlxbench_runner::process::Worker;
use mlxbench_runner::{journal, locate};
use serde::{Deserialize, Serialize};

use super::group::Group;
use super::worktree::{forget_git, git, said};
use crate::cmd::gate;
use crate::exit::Exit;

/// All that a step needs to know.
#[derive(Serialize, Deserialize)]
pub(super) struct Trial {
    /// The benchmark.
    pub(super) config: PathBuf,
    /// Where the user is: a config's paths may be from there.
    pub(super) folder: PathBuf,
    /// The root of the user's checkout.
    pub(super) repository: PathBuf,
    /// A line for the shell.
    pub(super) build: String,
    /// From the root of a worktree.
    pub(super) worker: PathBuf,
    /// What all are measured against.
    pub(super) good_worker: PathBuf,
    /// The backend that it is a worker of; empty until it was asked.
    pub(super) backend: String,
    /// Seconds after which a worker that hasn't introduced itself is killed.
    pub(super) timeout_seconds: u64,
    /// Which cases are measured.
    pub(super) filter: Option<String>,
    /// Changes up to this are none.
    pub(super) threshold: f64,
    /// Names of [`Compared`](mlxbench_analysis::Compared).
    pub(super) metrics: Vec<String>,
    /// Minutes after which no further round of a commit is begun.
    pub(super) max_minutes: f64,
    /// What is judged; the worst of all rows until that is known.
    pub(super) criterion: Option<Criterion>,
    /// Where results go, in a folder a commit.
    pub(super) out: PathBuf,
    /// Where what was tried is written down, a line a commit.
    pub(super) log: PathBuf,
}

/// The figure that commits are judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Criterion {
    target: TargetId,
    test: Test,
    /// The name of a [`Compared`](mlxbench_analysis::Compared).
    metric: String,
}

impl From<&Figure> for Criterion {
    fn from(figure: &Figure) -> Self {
        figure.of.clone()
    }
}

/// How much a figure changed against the good build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    of: Criterion,
    /// New over good, less 1.
    change: f64,
    /// The interval of the same that decides.
    bounds: Option<(f64, f64)>,
}

/// What a commit came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// As fast as the good one.
    Good {
        /// The figure that is judged; none before that is known.
        figure: Option<Figure>,
    },
    /// Slower.
    Bad {
        /// The figure that got worst.
        worst: Figure,
    },
    /// It can't be told, it doesn't build, or its worker is of no use.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// What `git bisect run` wants to hear.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Good { .. } => 0,
            Self::Bad { .. } => 1,
            Self::Unknown { .. } => 125,
        }
    }

    /// What rows come to: bad where one got worse, good where none did and none is open.
    fn of(rows: &[&ComparedRow]) -> Self {
        let worse = rows.iter().filter(|row| row.change == Change::Worse);
        let worse = worse.filter_map(|row| Figure::of(row));
        if let Some(worst) = worse.max_by(|a, b| a.size().total_cmp(&b.size())) {
            return Self::Bad { worst };
        }
        let open = rows
            .iter()
            .find(|row| !matches!(row.change, Change::Same | Change::Better));
        match (open, rows) {
            (Some(open), _) => Self::Unknown {
                reason: why_open(open),
            },
            (None, []) => Self::Unknown {
                reason: "no figure of it was measured".into(),
            },
            (None, [only]) => Self::Good {
                figure: Figure::of(only),
            },
            (None, _) => Self::Good { figure: None },
        }
    }
}

/// Why a row is neither worse nor the same.
fn why_open(row: &ComparedRow) -> String {
    let case = format!("{} of {} {}", row.metric.name(), row.target, row.test);
    match &row.change {
        Change::Broken { reason } | Change::NotComparable { reason } => format!("{case}: {reason}"),
        _ => match Figure::of(row) {
            Some(figure) => format!("it can't be told whether it is slower: {figure}"),
            None => format!("{case}: not measured"),
        },
    }
}

impl Figure {
    fn of(row: &ComparedRow) -> Option<Self> {
        let bounds = row
            .bounds
            .map(|Interval { low, high }| (low - 1.0, high - 1.0));
        Some(Self {
            of: Criterion {
                target: row.target.clone(),
                test: row.test,
                metric: row.metric.name().into(),
            },
            change: row.ratio?.median - 1.0,
            bounds,
        })
    }

    /// How far it is from no change, in either direction.
    fn size(&self) -> f64 {
        (1.0 + self.change).ln().abs()
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Criterion {
            target,
            test,
            metric,
        } = &self.of;
        let percent = |share: f64| format!("{:+.1}", share * 100.0);
        write!(f, "{metric} of {target} {test} {} %", percent(self.change))?;
        match self.bounds {
            Some((low, high)) => write!(f, " ({} to {})", percent(low), percent(high)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { figure: None } => write!(f, "good"),
            Self::Good {
                figure: Some(figure),
            } => write!(f, "good, {figure}"),
            Self::Bad { worst } => write!(f, "bad, {worst}"),
            Self::Unknown { reason } => write!(f, "skipped: {reason}"),
        }
    }
}

/// A commit that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// Its full name.
    pub(super) commit: String,
    /// What it came to.
    pub(super) outcome: Outcome,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.commit, self.outcome)
    }
}

impl Trial {
    /// Builds the worker in `tree`. The inner error says why there is none.
    pub(super) fn build(&self, group: &Group, tree: &Path) -> anyhow::Result<Result<(), String>> {
        let mut build = Command::new("sh");
        build.args(["-c", &self.build]).current_dir(tree);
        build.env("MLXBENCH_REPOSITORY", &self.repository);
        forget_git(&mut build);
        let built = group.status(&mut build).context("sh")?;
        let worker = tree.join(&self.worker);
        Ok(match (built.success(), worker.is_file()) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("the build leaves no {}", self.worker.display())),
            (false, _) => Err(format!(
                "it doesn't build: `{}` ended with {built}",
                self.build
            )),
        })
    }

    /// Asks a worker which backend it is of. The inner error says why it can't be measured.
    pub(super) fn introduce(
        &self,
        group: &Group,
        worker: &Path,
    ) -> anyhow::Result<Result<String, String>> {
        let command = locate::Command {
            program: worker.to_owned(),
            arguments: Vec::new(),
        };
        let timeout = Duration::from_secs(self.timeout_seconds);
        match Worker::introduce(&command, timeout, group.interrupt()) {
            Ok(hello) => Ok(Ok(hello.identity.backend)),
            Err(error) if error.kind.is_some() => {
                Ok(Err(format!("its worker can't introduce itself: {error}")))
            }
            // A signal says nothing of the worker.
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the worker in `tree`, and sees that it can be measured beside the good one. The inner error says why
    /// it can't.
    fn ready(
        &self,
        group: &Group,
        tree: &Path,
        worker: &Path,
    ) -> anyhow::Result<Result<(), String>> {
        if let Err(why) = self.build(group, tree)? {
            return Ok(Err(why));
        }
        Ok(match self.introduce(group, worker)? {
            Ok(backend) if backend == self.backend => Ok(()),
            Ok(backend) => Err(format!(
                "it is a worker of {backend}, the good one of {}",
                self.backend
            )),
            Err(why) => Err(why),
        })
    }

    /// Builds the commit that is checked out in `tree`, and measures it.
    pub(super) fn attempt(&self, group: &Group, tree: &Path) -> anyhow::Result<Tried> {
        let commit = said(git(tree).args(["rev-parse", "HEAD"]))?;
        // What an older build left must not pass for this one's.
        let worker = tree.join(&self.worker);
        let left = fs::remove_file(&worker);
        if let Err(error) = left
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| worker.display().to_string());
        }
        let outcome = match self.ready(group, tree, &worker)? {
            Err(reason) => Outcome::Unknown { reason },
            Ok(()) => self.judge(&self.measure(group, &commit, &worker)?),
        };
        Ok(Tried { commit, outcome })
    }

    /// Adds a commit to those that were tried.
    pub(super) fn write_down(&self, tried: &Tried) -> anyhow::Result<()> {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        Ok(writeln!(log, "{}", serde_json::to_string(tried)?)?)
    }

    /// `run --ab` of the good worker and this one.
    fn measure(&self, group: &Group, commit: &str, worker: &Path) -> anyhow::Result<Comparison> {
        let out = self.out.join(commit);
        let mut run = Command::new(std::env::current_exe()?);
        run.current_dir(&self.folder).arg("run").arg(&self.config);
        run.arg("--ab").arg(&self.good_worker).arg(worker);
        run.arg("--out").arg(&out);
        let threshold = self.threshold.to_string();
        run.args(["--threshold", &threshold, "--memory-threshold", &threshold]);
        run.args(["--max-minutes", &self.max_minutes.to_string()]);
        forget_git(&mut run);
        let (filter, metrics) = match &self.criterion {
            None => (self.filter.clone(), self.metrics.join(",")),
            Some(known) => (
                Some(format!("{} {}", known.target, known.test)),
                known.metric.clone(),
            ),
        };
        run.args(["--metric", &metrics]);
        if let Some(filter) = filter {
            run.args(["--filter", &filter]);
        }
        let ended = group.status(&mut run).context("mlxbench run")?;
        let failed = [Exit::Usage, Exit::Interrupted].map(|exit| Some(exit as i32));
        if ended.code().is_none() || failed.contains(&ended.code()) {
            bail!("`mlxbench run` of {commit} ended with {ended}");
        }
        let result = journal::read(&newest(&out)?)?;
        let metrics = metrics
            .split(',')
            .map(gate::metric)
            .collect::<Result<_, _>>();
        let options = Options {
            threshold: self.threshold,
            memory_threshold: self.threshold,
            metrics: metrics.map_err(anyhow::Error::msg)?,
            across: Vec::new(),
        };
        compare_sides(&result, &options).context("a run of two workers has two sides")
    }

    /// What a comparison says of the figure that is judged.
    fn judge(&self, comparison: &Comparison) -> Outcome {
        let judged = |row: &&ComparedRow| {
            let same = |known: &Criterion| {
                known.target == row.target
                    && known.test == row.test
                    && known.metric == row.metric.name()
            };
            self.criterion.as_ref().is_none_or(same)
        };
        let rows: Vec<&ComparedRow> = comparison.rows.iter().filter(judged).collect();
        Outcome::of(&rows)
    }
}

/// The result that a run has left in `out`.
fn newest(out: &Path) -> anyhow::Result<PathBuf> {
    let shown = || out.display().to_string();
    let mut results = Vec::new();
    for folder in fs::read_dir(out).with_context(shown)? {
        for file in fs::read_dir(folder?.path()).with_context(shown)? {
            results.push(file?.path());
        }
    }
    results.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    results
        .into_iter()
        .max()
        .with_context(|| format!("{} holds no result", shown()))
}
