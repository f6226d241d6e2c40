//! `mlxbench compare`: what changed between two results, and whether it got worse.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_analysis::{Comparison, compare, compare_sides};
use mlxbench_core::text::tell;
use mlxbench_report::{ComparisonFormat, Written, render_comparison};
use mlxbench_runner::baselines::Baselines;

use super::baseline::{DEFAULT_FOLDER, this_machine};
use super::gate::GateArgs;
use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};
use crate::output::print;

/// Compare a result with an earlier one, and exit 1 if something got worse.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench compare old.json new.json
  mlxbench compare old.json results/quick --metric decode --threshold 3%
  mlxbench compare results/quick/20261123T070000Z.json    # the two sides of a `run --ab`

A folder stands for its newest finished run, a name for this machine's newest baseline of that name.
A row is faster or slower only if the whole interval of its change lies beyond the threshold, and
the same only if it lies within; else it is inconclusive. The intervals of all rows hold together
with 99 %.")]
pub(crate) struct Args {
    /// What to compare with; alone, the result of `run --ab`, whose side b is compared with side a.
    base: String,
    /// What to compare.
    new: Option<String>,
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
    let inputs = [Some(&args.base), args.new.as_ref()];
    let mut outputs = Outputs::beside(inputs.into_iter().flatten().map(Path::new));
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
    let options = args.gate.options();
    let result = |text: &str| Baselines::new(&args.baselines).result(text, &this_machine());
    let base = result(&args.base)?;
    let Some(new) = &args.new else {
        let sides = compare_sides(&base, &options);
        return sides.with_context(|| {
            format!(
                "{} has no two sides to compare, as `run --ab` measures them: name a second result",
                args.base
            )
        });
    };
    Ok(compare(&base, &result(new)?, &options))
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
