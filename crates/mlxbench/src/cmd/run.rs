//! `mlxbench run`: a config to a result, and to a verdict where there is something to compare with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use mlxbench_analysis::comparison::ENOUGH_REPETITIONS;
use mlxbench_analysis::evidence::{LEVEL, Pairs};
use mlxbench_analysis::{Comparison, compare_runs, compare_sides};
use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{
    ROUNDS_OF_BLOCK, Residency, RunResult, Sample, Sequence, Settings, Sides,
};
use mlxbench_core::text::tell;
use mlxbench_report::{Beside, ComparisonFormat, Format, render_comparison};
use mlxbench_runner::baselines::Baselines;
use mlxbench_runner::config::Config;
use mlxbench_runner::execute::{End, Options, Outcome, execute, lets_through};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::plan::{Plan, plan};
use mlxbench_runner::system::MachineLock;

use super::baseline::{DEFAULT_FOLDER, this_machine};
use super::gate::GateArgs;
use super::report::quoted;
use crate::exit::Exit;
use crate::making::Making;
use crate::outfile::Outputs;
use crate::output::{Progress, print, terminal_width};

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
    /// The benchmark's TOML file.
    config: PathBuf,
    /// Run only cases whose name contains this; a case is named `candle/cpu/f32 pp64+tg16`.
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Folder of results: the run's files go to the subfolder of the config's name.
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Go on with the newest run of this config that was cut short; where none was, add to its newest result
    /// what --repetitions asks for beyond it.
    #[arg(long)]
    resume: bool,
    /// Measured repetitions a case, in place of the config's.
    #[arg(long, value_name = "N", value_parser = repetitions, conflicts_with = "ab")]
    repetitions: Option<NonZeroUsize>,
    /// Print the result as JSON, and nothing else.
    #[arg(long)]
    json: bool,
    /// Compare with an earlier result: a file, a folder, which stands for its newest, or the name of a
    /// baseline of this machine. Given several times, the first stands for all, and the spread between
    /// them enters the intervals.
    #[arg(
        long,
        value_name = "BASELINE",
        group = "base",
        help_heading = "Comparing"
    )]
    baseline: Vec<String>,
    /// How many of a name's newest baselines are compared with.
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
    /// With --ab: begin no further rounds after so many minutes of them, whatever is undecided then.
    #[arg(
        long,
        value_name = "N",
        default_value = "15",
        value_parser = minutes,
        requires = "ab",
        help_heading = "Comparing"
    )]
    max_minutes: f64,
    #[command(flatten)]
    gate: GateArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    let mut config = Config::read(&args.config)?;
    if let Some(repetitions) = args.repetitions {
        let measure = &mut config.measure;
        if args.resume && measure.processes.get() > 1 {
            // What is added comes at the pace of what is there.
            let processes = repetitions.get() * measure.processes.get();
            let processes = processes.div_ceil(measure.repetitions.get());
            measure.processes = measure
                .processes
                .max(NonZeroUsize::new(processes).unwrap_or(NonZeroUsize::MIN));
        }
        measure.repetitions = repetitions;
        measure.max_repetitions = measure.max_repetitions.map(|most| most.max(repetitions));
    }
    let folder = args.config.parent().unwrap_or(Path::new(""));
    let prompt = config.prompt.file.as_ref().map(|file| folder.join(file));
    let inputs = [Some(args.config.as_path()), prompt.as_deref()];
    let baselines = args.baseline.iter().map(Path::new);
    args.gate.claim(&mut Outputs::beside(
        inputs.into_iter().flatten().chain(baselines),
    ))?;
    args.gate.check()?;
    let bases = bases(&args)?;
    let base = bases.first();
    let sides = sides(&args);
    // Before a model is made or a worker started: both would be measured by a run that goes on.
    let lock = MachineLock::acquire(&config.name)?;
    let making = Making::new(args.json);
    let mut plan = plan(&config, &args.config, sides.as_ref(), &making.watch())?;
    if let Some(base) = base {
        has_something_of(base, &plan)?;
    }
    if sides.is_some() {
        until_decided(&mut plan, &args);
    } else if base.is_some() {
        if args.repetitions.is_none() {
            repeat_enough(&mut plan, args.json);
        }
        spread_out(&mut plan);
    }
    if !args.json {
        introduce(&plan, config.measure.residency.is_none());
    }
    let options = Options {
        out: args.out.clone(),
        resume: args.resume,
        filter: args.filter.clone(),
        harness: super::harness(),
    };
    let mut progress = Progress::new(args.json, plan.targets.iter().map(|target| &target.id));
    let outcome = execute(&plan, &lock, &options, &interrupt, &mut |event| {
        progress.show(&event)
    })?;
    drop(lock);
    progress.finish();
    let format = match args.json {
        true => Format::Json,
        false => Format::Terminal {
            width: terminal_width(),
        },
    };
    let beside = Beside {
        next: next_command(&outcome, &plan),
        ..Beside::default()
    };
    let table = mlxbench_report::render(std::slice::from_ref(&outcome.result), &beside, format);
    // The table goes out even when the result file could not be written.
    let printed = print(&table);
    let mut exit = conclude(&outcome, args.json);
    if let Err(error) = printed {
        // The run is measured and kept: what it came to is told all the same.
        tell(format_args!("error: the table can't be printed: {error:#}"));
        exit = if exit == Exit::Fine {
            Exit::Degraded
        } else {
            exit
        };
    }
    let options = args.gate.options();
    let comparison = match bases.split_first() {
        Some((base, earlier)) => Some(compare_runs(base, earlier, &outcome.result, &options)),
        None => compare_sides(&outcome.result, &options),
    };
    match comparison {
        Some(comparison) if matches!(outcome.end, End::Finished(_)) => {
            let gate = show(&comparison, &args);
            // What got worse goes before what failed: a GPU that is missing must not hide it.
            Ok(if gate == Exit::Fine { exit } else { gate })
        }
        _ => Ok(exit),
    }
}

/// What to do with a result that was written.
fn next_command(outcome: &Outcome, plan: &Plan) -> Option<String> {
    let End::Finished(path) = &outcome.end else {
        return None;
    };
    let page = quoted(Path::new(&format!("{}.html", plan.name)));
    Some(format!("mlxbench report {} -o {page}", quoted(path)))
}

/// What to compare with, read before anything is run.
fn bases(args: &Args) -> anyhow::Result<Vec<RunResult>> {
    let baselines = Baselines::new(&args.baselines);
    let mut bases = Vec::new();
    for baseline in &args.baseline {
        bases.extend(baselines.results(baseline, &this_machine(), args.last)?);
    }
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
fn minutes(text: &str) -> Result<f64, String> {
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

fn introduce(plan: &Plan, residency_by_memory: bool) {
    tell(format_args!(
        "model: {} in {}",
        plan.model.source,
        plan.model.folder.display()
    ));
    if let Some(reason) = &plan.model.fallback_reason {
        tell(format_args!("the config's fallback was taken: {reason}"));
    }
    let one_at_a_time = plan.settings.residency == Residency::OneAtATime;
    if one_at_a_time && residency_by_memory && plan.sides.is_none() {
        tell("memory is too small for all models together: workers are loaded one at a time");
    }
}

fn conclude(outcome: &Outcome, quiet: bool) -> Exit {
    match &outcome.end {
        End::Finished(path) => {
            if !quiet {
                tell(format_args!("result: {}", path.display()));
            }
            if outcome.failed {
                Exit::Degraded
            } else {
                Exit::Fine
            }
        }
        End::Interrupted(journal) => {
            tell(format_args!(
                "interrupted: {} repetitions are kept in {}; go on with --resume",
                outcome.result.samples.len(),
                journal.display()
            ));
            Exit::Interrupted
        }
        End::OutputFailed(error) => {
            tell(format_args!(
                "error: results can't be written: {error}; the run stopped, what was measured is \
                 printed above, and what was written before can go on with --resume"
            ));
            Exit::Degraded
        }
    }
}
