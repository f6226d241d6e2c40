//! `mlxbench bisect`: which commit made a worker slow? `git bisect` over its builds, each measured against
//! the good one, round by round.

mod group;
mod trial;
mod worktree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_analysis::Compared;
use mlxbench_core::text::tell;
use mlxbench_runner::bundled::config_file;
use mlxbench_runner::config::Config;
use mlxbench_runner::interrupt::Interrupt;

use self::group::Group;
use self::trial::{Criterion, Outcome, Trial, Tried};
use self::worktree::{Repository, Worktree};
use super::run::minutes;
use super::{gate, set_on_signals};
use crate::exit::Exit;
use crate::output::print;

/// Find the commit that made a worker slow.
///
/// `git bisect` chooses commits between a good and a bad one. Each is built, and measured beside the good
/// build with `run --ab`: in turn, on the same machine. First the bad one: the figure that got worst there
/// is what the others are judged by. A commit that doesn't build, whose worker can't introduce itself, or that
/// can't be told from either, is skipped. All is built in two temporary worktrees (in TMPDIR): your checkout
/// isn't touched.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench bisect bench-configs/quick.toml --good HEAD~20 --bad HEAD --filter candle/cpu/f32 \\
      --build 'cargo build --release --locked -p mlxbench-candle' \\
      --worker target/release/mlxbench-worker-candle
  mlxbench bisect my.toml --repository ../engine --good 1a2b3c4 --build make --worker build/worker

Exit codes: 0 the first bad commit was found; 1 too many commits were skipped to name one; 2 the command is
wrong, the good commit's worker can't be had, or the bad one isn't slower, or not surely within --max-minutes;
130 interrupted.")]
pub(crate) struct Args {
    /// The benchmark's TOML file. It has targets of the worker's backend.
    config: PathBuf,
    /// A commit of which the worker is fast.
    #[arg(long, value_name = "REV")]
    good: String,
    /// A later one of which it is slow.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    bad: String,
    /// The worker's git repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// Builds the worker: a line for the shell, run at the root of a worktree. Its MLXBENCH_REPOSITORY is the
    /// repository's own root, for what git doesn't know: `ln -sfn $MLXBENCH_REPOSITORY/.native .native`.
    #[arg(long, value_name = "COMMAND")]
    build: String,
    /// Where the build leaves the worker's program, from the root of the repository.
    #[arg(long, value_name = "PATH")]
    worker: PathBuf,
    /// Measure only cases whose name contains this, as `run` does.
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Changes within ± this count as no change: 5% or 0.05.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = gate::share)]
    threshold: f64,
    /// What to look at, separated by commas: decode, prefill, ttft, latency-p99, memory, energy, training, ..., as `run` does.
    #[arg(long, value_name = "METRIC", value_delimiter = ',', value_parser = gate::metric,
          default_value = "decode,prefill")]
    metric: Vec<Compared>,
    /// Of each commit: start no new round after so many minutes, even if rows are undecided.
    #[arg(long, value_name = "N", default_value = "15", value_parser = minutes)]
    max_minutes: f64,
    /// Keep the result of each commit in this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// One step, for `git bisect run`.
#[derive(clap::Args)]
pub(crate) struct StepArgs {
    /// What [`run`] has written down.
    trial: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let group = Group::end_on_signals()?;
    let outcome = search(args, &group);
    // What a signal has ended fails, and isn't to be believed.
    match group.was_ended() {
        true => Ok(Exit::Interrupted),
        false => outcome,
    }
}

fn search(args: &Args, group: &Group) -> anyhow::Result<Exit> {
    let file = config_file(&args.config).map_err(anyhow::Error::msg)?;
    let config = Config::read(&file)?;
    let models = config.models.values().len();
    if models > 1 {
        bail!(
            "{} has {models} models: bisect measures one, so write a config that has it alone",
            file.display()
        );
    }
    let repository = Repository::at(&args.repository)?;
    let (good, bad) = ends(args, &repository)?;
    if args.worker.is_absolute() {
        bail!(
            "--worker: write the path from the root of the repository, so that each commit has its own"
        );
    }
    let folder = tempfile::Builder::new()
        .prefix("mlxbench-bisect-")
        .tempdir()?;
    let good_tree = Worktree::add(&repository, folder.path().join("good"), &good)?;
    let tree = Worktree::add(&repository, folder.path().join("candidate"), &bad)?;
    let mut trial = Trial {
        config: std::path::absolute(&file)?,
        folder: std::env::current_dir()?,
        repository: repository.root().to_owned(),
        build: args.build.clone(),
        worker: args.worker.clone(),
        good_worker: good_tree.path().join(&args.worker),
        backend: String::new(),
        timeout_seconds: config.measure.timeout_seconds.get() as u64,
        filter: args.filter.clone(),
        threshold: args.threshold,
        metrics: args
            .metric
            .iter()
            .map(|metric| metric.name().to_owned())
            .collect(),
        max_minutes: args.max_minutes,
        criterion: None,
        out: match &args.out {
            Some(out) => std::path::absolute(out)?,
            None => folder.path().join("results"),
        },
        log: folder.path().join("tried.jsonl"),
    };
    tell(format_args!("{good}: building the good worker"));
    if let Err(why) = trial.build(group, good_tree.path())? {
        bail!("--good {}: {why}", args.good);
    }
    trial.backend = match trial.introduce(group, &trial.good_worker)? {
        Ok(backend) => backend,
        Err(why) => bail!("--good {}: {why}", args.good),
    };
    let bad_one = trial.attempt(group, tree.path())?;
    tell(&bad_one);
    trial.criterion = match &bad_one.outcome {
        Outcome::Bad { worst } => Some(Criterion::from(worst)),
        Outcome::Good { .. } => bail!(
            "--bad {} is no slower than --good {}: there is nothing to look for",
            args.bad,
            args.good
        ),
        Outcome::Unknown { reason } => bail!("--bad {}: {reason}", args.bad),
    };
    let file = folder.path().join("trial.json");
    fs::write(&file, serde_json::to_vec(&trial)?)?;
    let found = tree.bisect(group, &good, &bad, &file)?;
    let mut tried = tried(&trial.log)?;
    tried.push(bad_one);
    conclude(&repository, found.as_deref(), &tried)
}

/// The good commit and the bad one, which has it in its history.
fn ends(args: &Args, repository: &Repository) -> anyhow::Result<(String, String)> {
    let [good, bad] = [&args.good, &args.bad].map(|rev| repository.commit(rev));
    let (good, bad) = (good?, bad?);
    if good == bad || !repository.is_ancestor(&good, &bad)? {
        bail!(
            "--good {} is no ancestor of --bad {}: bisecting goes from a good commit to a later bad one",
            args.good,
            args.bad
        );
    }
    Ok((good, bad))
}

/// One step of `git bisect run`, in the worktree of a commit: 0 is good, 1 is bad, 125 can't tell; what would
/// go wrong in each further one ends the bisection with 128.
pub(crate) fn step(args: &StepArgs) -> u8 {
    let attempt = || -> anyhow::Result<Tried> {
        // No worker outlives a step that a signal ends.
        set_on_signals(&Interrupt::default())?;
        let trial: Trial = serde_json::from_slice(&fs::read(&args.trial)?)?;
        let tree = std::env::current_dir()?;
        // A worker is asked what it is where it is measured.
        std::env::set_current_dir(&trial.folder)?;
        let tried = trial.attempt(&Group::none(), &tree)?;
        trial.write_down(&tried)?;
        Ok(tried)
    };
    match attempt() {
        Ok(tried) => {
            tell(&tried);
            tried.outcome.code()
        }
        Err(error) => {
            tell(format_args!("error: {error:#}"));
            128
        }
    }
}

/// The commits that were tried.
fn tried(log: &Path) -> anyhow::Result<Vec<Tried>> {
    let Ok(text) = fs::read_to_string(log) else {
        return Ok(Vec::new()); // There was none between the two.
    };
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .context("the commits that were tried")
}

fn conclude(repository: &Repository, found: Option<&str>, tried: &[Tried]) -> anyhow::Result<Exit> {
    let Some(found) = found else {
        let skipped = tried.iter();
        let skipped = skipped.filter(|tried| matches!(tried.outcome, Outcome::Unknown { .. }));
        let skipped: Vec<String> = skipped.map(|tried| format!("  {tried}\n")).collect();
        let text = format!(
            "The first bad commit can't be told from those that were skipped:\n{}",
            skipped.concat()
        );
        print(text.as_bytes())?;
        return Ok(Exit::Regression);
    };
    let measured = tried.iter().find(|tried| tried.commit == found);
    let measured = measured.map_or_else(String::new, |tried| {
        format!("  measured: {}\n", tried.outcome)
    });
    let text = format!(
        "First bad commit: {found}\n  {}\n{measured}",
        repository.describe(found)?
    );
    print(text.as_bytes())?;
    Ok(Exit::Fine)
}
