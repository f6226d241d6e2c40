//! `mlxbench compare`: what changed between two results, and whether it got worse.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_analysis::{Comparison, compare_runs, compare_sides};
use mlxbench_core::results::RunResult;
use mlxbench_core::text::tell;
use mlxbench_report::{ComparisonFormat, Written, render_comparison};
use mlxbench_runner::baselines::{Baselines, Wanted};

use super::baseline::{DEFAULT_FOLDER, once_each, results_of, this_machine};
use super::gate::GateArgs;
use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};
use crate::output::print;

/// Compare a result with an earlier one, and exit 1 if something got worse.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench compare old.json new.json
  mlxbench compare old.json results/quick --metric decode --threshold 3%
  mlxbench compare monday.json tuesday.json wednesday.json    # the last with the others
  mlxbench compare main results/quick --last 5
  mlxbench compare results/quick/20261123T070000Z.json    # the two sides of a `run --ab`

A folder stands for its newest finished run, a name for this machine's newest baseline of that name.
A row is faster or slower if its change is beyond the threshold, and the same if it is within, each with
95 % one-sided confidence over all rows together; else it is inconclusive, which more repetitions decide:
`mlxbench run CONFIG --resume --repetitions N` adds them to a result.")]
pub(crate) struct Args {
    /// What to compare with, and last what to compare. Of several to compare with, all count alike: the machine's
    /// state is the last one's, and the spread between them enters the intervals. Alone, the result of `run --ab`,
    /// whose side b is compared with side a, by the thresholds and metrics of that run unless others are given.
    #[arg(id = "base", required = true, value_name = "BASE... NEW")]
    results: Vec<String>,
    /// How many of a name's or a folder's newest are compared with, of one config and machine.
    #[arg(long, value_name = "N", default_value = "1")]
    last: NonZeroUsize,
    /// The folder of named baselines.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_FOLDER)]
    baselines: PathBuf,
    /// text, md or json; else the ending of FILE decides.
    #[arg(long)]
    format: Option<String>,
    /// Write to FILE in place of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    gate: GateArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let format = format(args)?;
    let mut outputs = Outputs::beside(args.results.iter().map(Path::new));
    if let Some(file) = &args.output {
        outputs.claim(file, Kind::Report(Written::Comparison(format)))?;
    }
    args.gate.claim(&mut outputs)?;
    let comparison = comparison(args)?;
    let written = render_comparison(&comparison, format);
    match &args.output {
        Some(file) => outfile::replace(file, &written)?,
        None => print(&written)?,
    }
    let told = args.gate.tell(&comparison)?;
    match args.output.is_none() && format != ComparisonFormat::Text {
        // Stdout is the document's alone.
        true if told.is_empty() => {}
        true => tell(String::from_utf8_lossy(&told).trim_end()),
        false => print(&told)?,
    }
    Ok(args.gate.exit(comparison.gate))
}

fn comparison(args: &Args) -> anyhow::Result<Comparison> {
    let baselines = Baselines::new(&args.baselines);
    let machine = this_machine();
    let (new, bases) = args.results.split_last().context("no result is named")?;
    if bases.is_empty() {
        let result = baselines.result(new, &machine, Wanted::TwoSides)?;
        let options = args.gate.options_of(&result).with_context(|| new.clone())?;
        return compare_sides(&result, &options).with_context(|| {
            format!(
                "{new} has no two sides to compare, as `run --ab` measures them: name a second result"
            )
        });
    }
    let named = new;
    let new = baselines.result(named, &machine, Wanted::OneSide)?;
    has_one_side(&new, named)?;
    let mut runs = Vec::new();
    for base in bases.iter().rev() {
        runs.extend(runs_of(args, base, &new)?);
    }
    let mut runs = once_each(runs);
    // It would be compared with itself.
    if runs.iter().any(|run| !run.is_same_run(&new)) {
        runs.retain(|run| !run.is_same_run(&new));
    }
    let (base, earlier) = runs.split_first().context("no result is named")?;
    let comparison = compare_runs(base, earlier, &new, &args.gate.options());
    if comparison.shares_nothing() {
        bail!(
            "{named}, a run of {}, shares no target and test with what it is compared with, a run of {}: name two of the \
             same config",
            new.run.name,
            base.run.name
        );
    }
    Ok(comparison)
}

/// The results that `base` names, the newest first. Of a folder or a name they are as many as are asked for beside
/// `new`, which may lie among them.
fn runs_of(args: &Args, base: &str, new: &RunResult) -> anyhow::Result<Vec<RunResult>> {
    if Path::new(base).is_file() {
        let runs = results_of(&args.baselines, base, args.last)?;
        runs.iter().try_for_each(|run| has_one_side(run, base))?;
        return Ok(runs);
    }
    let mut runs = results_of(&args.baselines, base, args.last.saturating_add(1))?;
    match runs.iter().all(|run| run.is_same_run(new)) {
        true => tell(format_args!(
            "note: {base} holds no other result, so it is compared with itself"
        )),
        false => runs.retain(|run| !run.is_same_run(new)),
    }
    runs.truncate(args.last.get());
    Ok(runs)
}

/// Refuses a result of two sides, which shares no target with others.
fn has_one_side(result: &RunResult, named: &str) -> anyhow::Result<()> {
    if result.run.sides.is_some() {
        bail!(
            "{named} is of `run --ab`, and its two sides are compared with each other: `mlxbench compare {named}`"
        );
    }
    Ok(())
}

fn format(args: &Args) -> anyhow::Result<ComparisonFormat> {
    let ending = args
        .output
        .as_ref()
        .and_then(|file| file.extension()?.to_str());
    let name = args.format.as_deref().or(ending).unwrap_or("text");
    match ComparisonFormat::named(name) {
        Some(format) => Ok(format),
        None => bail!("`{name}` is no format of a comparison: write text, md or json"),
    }
}
