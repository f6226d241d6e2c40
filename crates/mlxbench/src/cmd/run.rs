//! `mlxbench run`: a config to a result, and to a verdict where there is something to compare with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use mlxbench_analysis::comparison::ENOUGH_REPETITIONS;
use mlxbench_analysis::evidence::{LEVEL, Pairs};
use mlxbench_analysis::{Compared, Comparison, compare_runs, compare_sides};
use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{ROUNDS_OF_BLOCK, RunResult, Sample, Sequence, Settings, Sides};
use mlxbench_core::text::tell;
use mlxbench_report::{ComparisonFormat, Format, render_comparison};
use mlxbench_runner::bundled::config_file;
use mlxbench_runner::config::{Config, MeasureConfig};
use mlxbench_runner::execute::{Options, goes_on_with, lets_through};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::plan::Plan;
use mlxbench_runner::system::MachineLock;

use super::baseline::{DEFAULT_FOLDER, once_each, results_of};
use super::forecast;
use super::gate::GateArgs;
use super::measure::{Resume, expected, measure, of_models, plans, table};
use super::versions::Versions;
use crate::exit::Exit;
use crate::outfile::Outputs;
use crate::output::print;

/// Run a benchmark and write its result.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench run bench-configs/quick.toml
  mlxbench run bench-configs/gemma3-270m.toml --filter candle/cpu/f32
  mlxbench run bench-configs/quick.toml --resume --repetitions 20    # adds to its newest result
  mlxbench run bench-configs/quick.toml --baseline main
  mlxbench run bench-configs/quick.toml \\
      --ab ../base/target/release/mlxbench-worker-candle target/release/mlxbench-worker-candle

A config can name programs: a backend's `command`, `source = \"script:PROGRAM\"`. They run as you, so
treat a config from somebody else as you would treat their script: read it first.")]
pub(crate) struct Args {
    /// The benchmark's TOML file, or the name of one that mlxbench comes with: `quick`.
    config: PathBuf,
    /// Run only cases whose name contains this; a case is named `candle/cpu/f32 pp64+tg16`.
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Of a config with several models, measure only those whose source contains this.
    #[arg(long, value_name = "PATTERN")]
    model: Option<String>,
    /// Folder of results: the run's files go to the subfolder of the config's name.
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Continue the newest interrupted run of this config; where there is none, add repetitions to its newest
    /// result, up to --repetitions.
    #[arg(long)]
    resume: bool,
    /// Say what would run, how long about, and what memory and disk it would need; measure nothing.
    #[arg(long, conflicts_with_all = ["resume", "base"])]
    dry_run: bool,
    /// Measured repetitions a case, in place of the config's: more of them in as many more processes.
    #[arg(long, value_name = "N", value_parser = repetitions, conflicts_with = "ab")]
    repetitions: Option<NonZeroUsize>,
    /// Print the result as JSON, and nothing else.
    #[arg(long)]
    json: bool,
    /// Compare with an earlier result: a file, a folder, which stands for its newest, or the name of a
    /// baseline of this machine. Of several, all count alike: the machine's state is the first one's, and the
    /// spread between them enters the intervals.
    #[arg(
        long,
        value_name = "BASELINE",
        group = "base",
        help_heading = "Comparing"
    )]
    baseline: Vec<String>,
    /// How many of a name's or a folder's newest are compared with, of one config and machine.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        requires = "baseline",
        help_heading = "Comparing"
    )]
    last: NonZeroUsize,
    /// The folder of named baselines.
    #[arg(
        long,
        value_name = "DIR",
        default_value = DEFAULT_FOLDER,
        requires = "baseline",
        help_heading = "Comparing"
    )]
    baselines: PathBuf,
    /// Compare two workers of one backend, say of two commits: the config's targets of that backend are
    /// run with both, in turn in each round, until every row is decided. Takes the command of each: a program's path as it is, or words
    /// as a shell splits them.
    #[arg(
        long,
        num_args = 2,
        value_names = ["CMD_A", "CMD_B"],
        group = "base",
        help_heading = "Comparing"
    )]
    ab: Option<Vec<String>>,
    /// With --ab: start no new round after so many minutes, even if rows are undecided.
    #[arg(
        long,
        value_name = "N",
        default_value = "15",
        value_parser = minutes,
        requires = "ab",
        help_heading = "Comparing"
    )]
    max_minutes: f64,
    /// Measure a framework in several versions: torch=2.13.0,2.14.0 or mlx=A,B. In place of each of its targets
    /// there is one for each version, torch-2.13.0/cpu/f32, with a worker that is compiled on that version's library
    /// at its first use (some minutes; in a checkout). Results go to the folder of the config's name and -versions.
    /// The bindings are made for one version, and one that they don't compile on is refused. PyTorch 2.12.1 to 2.14.0
    /// are taken; of MLX, 0.32.2 alone.
    #[arg(
        long,
        value_name = "FRAMEWORK=V,V",
        conflicts_with_all = ["ab", "dry_run"],
        help_heading = "Comparing"
    )]
    versions: Option<Versions>,
    #[command(flatten)]
    gate: GateArgs,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    args.config = config_file(&args.config).map_err(anyhow::Error::msg)?;
    let mut config = Config::read(&args.config)?;
    if let Some(repetitions) = args.repetitions {
        repeat(&mut config.measure, repetitions);
    }
    let folder = args.config.parent().unwrap_or(Path::new(""));
    let prompt = config.prompt.file.as_ref().map(|file| folder.join(file));
    let inputs = [Some(args.config.as_path()), prompt.as_deref()];
    let baselines = args.baseline.iter().map(Path::new);
    args.gate.claim(&mut Outputs::beside(
        inputs.into_iter().flatten().chain(baselines),
    ))?;
    args.gate.check()?;
    let configs = of_models(&config, args.model.as_deref())?;
    if let (Some(option), [_, another, ..]) = (of_one_model(&args), configs.as_slice()) {
        bail!(
            "{option} is about one model, and the config has several: name one with --model {}",
            another.models.first().short_name()
        );
    }
    if args.dry_run {
        let filter = args.filter.as_deref();
        return forecast::show(&configs, &args.config, &args.out, filter, args.json);
    }
    let mut bases = bases(&args)?;
    let sides = sides(&args);
    // Before a model is made, a worker compiled or started: all would be measured by a run that goes on.
    let lock = MachineLock::acquire(&config.name)?;
    let configs = match &args.versions {
        Some(versions) => of_models(&versions.apply(&config)?, args.model.as_deref())?,
        None => configs,
    };
    let options = Options {
        out: args.out.clone(),
        resume: args.resume,
        filter: args.filter.clone(),
        harness: super::harness(),
    };
    // Two sides are measured until they are decided, a baseline asks for more repetitions, and of a run that goes on
    // a part is done.
    let compared = sides.is_some() || !bases.is_empty();
    let unknown = args.json || compared || args.resume;
    let expected = expected(&configs, &args.config, &options, unknown);
    let mut plans = plans(&configs, &args.config, sides.as_ref(), &expected, args.json)?;
    for plan in &mut plans {
        if compared {
            has_what_is_compared(&args, plan)?;
        }
        if sides.is_some() {
            until_decided(plan, &args);
        } else if compared {
            if args.repetitions.is_none() {
                repeat_enough(plan, args.json);
            }
            spread_out(plan);
        }
    }
    if let [plan] = plans.as_slice() {
        leave_out_itself(&mut bases, plan, &options)?;
        if let Some(base) = bases.first() {
            has_something_of(base, plan)?;
        }
    }
    let measured = measure(&plans, &expected, &lock, &options, &interrupt, args.json)?;
    drop(lock);
    let format = if args.json { Format::Json } else { table() };
    let exit = measured.show(format, args.json, Resume::Flag);
    let options = args.gate.options();
    let comparison = match (bases.split_first(), measured.results.as_slice()) {
        (Some((base, earlier)), [result]) => Some(compare_runs(base, earlier, result, &options)),
        (None, [result]) => compare_sides(result, &options),
        _ => None,
    };
    match comparison {
        Some(comparison) if measured.finished() => {
            let gate = show(&comparison, &args);
            // What got worse goes before what failed: a GPU that is missing must not hide it.
            Ok(if gate == Exit::Fine { exit } else { gate })
        }
        _ => Ok(exit),
    }
}

/// The option that several models at once make no sense with.
fn of_one_model(args: &Args) -> Option<&'static str> {
    let options = [
        ("--ab", args.ab.is_some()),
        ("--baseline", !args.baseline.is_empty()),
        ("--resume", args.resume),
    ];
    let given = options.into_iter().find(|(_, given)| *given);
    given.map(|(name, _)| name)
}

/// Repetitions in place of the config's, in as many more processes: what is compared is these.
fn repeat(measure: &mut MeasureConfig, repetitions: NonZeroUsize) {
    if measure.processes.get() > 1 {
        let processes = repetitions.get() * measure.processes.get();
        let processes = processes.div_ceil(measure.repetitions.get());
        let processes = NonZeroUsize::new(processes).unwrap_or(NonZeroUsize::MIN);
        measure.processes = measure.processes.max(processes);
    }
    measure.repetitions = repetitions;
    measure.max_repetitions = measure.max_repetitions.map(|most| most.max(repetitions));
}

/// Takes the run that is continued out of what it is compared with: its own repetitions would be on both sides.
fn leave_out_itself(
    bases: &mut Vec<RunResult>,
    plan: &Plan,
    options: &Options,
) -> anyhow::Result<()> {
    if bases.is_empty() || !options.resume {
        return Ok(());
    }
    let continued = goes_on_with(plan, options)?;
    let known = bases.len();
    bases.retain(|base| !base.is_same_run(&continued));
    match bases.len() {
        0 => bail!(
            "--baseline: it is the run that --resume continues, which would be compared with itself: name another, \
             or run without --resume"
        ),
        left if left < known => {
            tell("note: the run that is continued is among the baselines, and left out there");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What to compare with, read before anything is run.
fn bases(args: &Args) -> anyhow::Result<Vec<RunResult>> {
    let mut bases = Vec::new();
    for baseline in &args.baseline {
        bases.extend(results_of(&args.baselines, baseline, args.last)?);
    }
    let mut bases = once_each(bases);
    if let Some(filter) = &args.filter {
        // What this run leaves out isn't missed.
        for base in &mut bases {
            base.samples
                .retain(|sample| lets_through(filter, &sample.target, &sample.test));
        }
    }
    Ok(bases)
}

/// Sees that there will be something to compare, before it is measured.
fn has_something_of(base: &RunResult, plan: &Plan) -> anyhow::Result<()> {
    let shared = |sample: &Sample| {
        let mut tests = plan.tests.iter();
        tests.any(|(test, _)| *test == sample.test)
            && plan.targets.iter().any(|target| target.id == sample.target)
    };
    if !base.samples.iter().any(shared) {
        bail!(
            "--baseline: the baseline, a run of {}, has none of the targets and tests of this run: take one \
             of the same config",
            base.run.name
        );
    }
    Ok(())
}

/// Sees that the tests have the figures that are to be compared, where these were named.
fn has_what_is_compared(args: &Args, plan: &Plan) -> anyhow::Result<()> {
    let metrics = args.gate.options().metrics;
    let named = metrics.iter().filter(|_| metrics != Compared::DEFAULT);
    let tests = || plan.tests.iter().map(|(test, _)| test);
    let mut lacking = named.filter_map(|metric| metric.lacking(tests()));
    match lacking.next() {
        Some(why) => bail!("--metric: {why}"),
        None => Ok(()),
    }
}

/// The sides of `--ab`, and until when they are measured.
fn sides(args: &Args) -> Option<Sides> {
    let [a, b] = args.ab.as_deref()? else {
        return None;
    };
    let options = args.gate.options();
    let metrics = options
        .metrics
        .iter()
        .map(|metric| metric.name().to_owned());
    Some(Sides {
        a: a.clone(),
        b: b.clone(),
        sequence: Some(Sequence {
            // As many bits as every reader of JSON takes whole; the hasher's keys are the system's random numbers.
            order_seed: RandomState::new().build_hasher().finish() >> 32,
            threshold: options.threshold,
            memory_threshold: options.memory_threshold,
            metrics: metrics.collect(),
            level: LEVEL,
            max_seconds: 60.0 * args.max_minutes,
        }),
    })
}

/// Measures the sides until they are decided, whatever the config says of when to end.
fn until_decided(plan: &mut Plan, args: &Args) {
    let most = Duration::from_secs_f64(60.0 * args.max_minutes);
    plan.until_decided = Some((args.gate.options(), most));
    let settings = &mut plan.settings;
    settings.repetitions = Pairs::fewest_rounds(ROUNDS_OF_BLOCK);
    let rules = [
        (
            "interval_percent",
            settings.interval_percent.take().is_some(),
        ),
        ("max_repetitions", settings.max_repetitions.take().is_some()),
        ("max_seconds", settings.max_seconds.take().is_some()),
    ];
    for (rule, _) in rules.iter().filter(|(_, given)| *given && !args.json) {
        tell(format_args!(
            "--ab: {rule} of the config doesn't apply: the run ends when every row is decided, or after \
             --max-minutes {}",
            args.max_minutes
        ));
    }
}

/// As many repetitions as decide a comparison with a baseline, if the config has fewer.
fn repeat_enough(plan: &mut Plan, quiet: bool) {
    let Settings {
        repetitions,
        max_repetitions,
        ..
    } = &mut plan.settings;
    if *repetitions >= ENOUGH_REPETITIONS {
        return;
    }
    if !quiet {
        tell(format_args!(
            "--baseline: {ENOUGH_REPETITIONS} repetitions in place of {repetitions}, so that changes can be told"
        ));
    }
    *repetitions = ENOUGH_REPETITIONS;
    *max_repetitions = max_repetitions.map(|most| most.max(ENOUGH_REPETITIONS));
}

/// A process for each repetition, as a comparison of two runs needs, unless the config says one for all.
fn spread_out(plan: &mut Plan) {
    let settings = &mut plan.settings;
    if let Some(processes) = settings.processes.as_mut().filter(|count| **count > 1) {
        *processes = settings.repetitions;
    }
}

/// A number of repetitions that a result can hold.
fn repetitions(text: &str) -> Result<NonZeroUsize, String> {
    let repetitions = text.parse::<NonZeroUsize>().ok();
    repetitions
        .filter(|repetitions| repetitions.get() <= REPETITIONS)
        .ok_or_else(|| format!("write a number from 1 to {REPETITIONS}"))
}

/// Minutes, up to a week.
pub(super) fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse::<f64>().ok();
    minutes
        .filter(|minutes| (0.0..=10_080.0).contains(minutes) && *minutes > 0.0)
        .ok_or_else(|| "write minutes, up to 10080: 15".into())
}

/// Shows what came of it. What can't be shown or written costs nothing of the verdict.
fn show(comparison: &Comparison, args: &Args) -> Exit {
    let exit = args.gate.exit(comparison.gate);
    let mut text = b"\n".to_vec();
    text.extend(render_comparison(comparison, ComparisonFormat::Text));
    let written = args.gate.tell(comparison);
    if let Ok(told) = &written {
        text.extend(told);
    }
    let shown = match args.json {
        // Stdout is the result's alone.
        true => {
            tell(String::from_utf8_lossy(&text).trim_end());
            Ok(())
        }
        false => print(&text),
    };
    if let Err(error) = &written {
        tell(format_args!(
            "error: {error:#}: the comparison is printed above"
        ));
    }
    if let Err(error) = &shown {
        tell(format_args!(
            "error: the comparison can't be printed: {error:#}"
        ));
    }
    match exit {
        Exit::Fine if written.is_err() || shown.is_err() => Exit::Degraded,
        exit => exit,
    }
}
