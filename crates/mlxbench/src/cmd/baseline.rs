//! `mlxbench baseline`: results that later ones are compared with.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use mlxbench_analysis::fingerprint::hardware_of;
use mlxbench_core::results::RunResult;
use mlxbench_core::text::tell;
use mlxbench_report::{Beside, Format, render};
use mlxbench_runner::baselines::{Baselines, Kept, Wanted, result_at};
use mlxbench_runner::{journal, system};
use serde_json::json;

use crate::exit::Exit;
use crate::output::{print, terminal_width};

/// Keep results to compare later ones with, by machine and name.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench baseline save main results/quick
  mlxbench run bench-configs/quick.toml --baseline main")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The folder they lie in, which can be committed or cached.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_FOLDER, global = true)]
    baselines: PathBuf,
}

/// Where baselines lie unless somebody says otherwise.
pub(crate) const DEFAULT_FOLDER: &str = "baselines";

#[derive(clap::Subcommand)]
enum Verb {
    /// Keep a result as the newest baseline of a name.
    Save {
        /// The name: letters, digits, `.`, `_` and `-`.
        name: String,
        /// A result file, or a folder, which stands for its newest run that came to its end.
        result: PathBuf,
    },
    /// List all baselines.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show this machine's newest baseline of a name.
    Show {
        /// Its name.
        name: String,
    },
    /// Remove all but the newest of each machine and name.
    Prune {
        /// How many of each stay.
        #[arg(long, value_name = "N", default_value = "1")]
        keep: NonZeroUsize,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let baselines = Baselines::new(&args.baselines);
    match &args.verb {
        Verb::Save { name, result } => {
            let file = baselines.save(name, &result_at(result, Wanted::OneSide)?)?;
            tell(format_args!("kept as {}", file.display()));
        }
        Verb::List { json } => print(list(&baselines.list()?, *json).as_bytes())?,
        Verb::Show { name } => {
            let file = baselines.find(name, &this_machine())?;
            let result = journal::read(&file)?;
            tell(file.display());
            let width = terminal_width();
            print(&render(
                &[result],
                &Beside::default(),
                Format::Terminal { width },
            ))?;
        }
        Verb::Prune { keep } => {
            for file in baselines.prune(*keep)? {
                tell(format_args!("removed {}", file.display()));
            }
        }
    }
    Ok(Exit::Fine)
}

/// The results that `text` names as a base, the newest first: up to `last` of a name, which lies in `folder`, or of
/// a folder. An earlier one that can't be read is told of, and left out.
pub(crate) fn results_of(
    folder: &Path,
    text: &str,
    last: NonZeroUsize,
) -> anyhow::Result<Vec<RunResult>> {
    let found = Baselines::new(folder).results(text, &this_machine(), last)?;
    for error in &found.unread {
        tell(format_args!("warning: {error}; it is left out"));
    }
    Ok(found.results)
}

/// Each run once: one that is named twice, or lies in two files, is no more evidence than once.
pub(crate) fn once_each(runs: Vec<RunResult>) -> Vec<RunResult> {
    let mut once: Vec<RunResult> = Vec::new();
    for run in runs {
        match once.iter().any(|known| known.is_same_run(&run)) {
            true => tell(format_args!(
                "note: the run of {} is named twice and counts once",
                run.run.started.strftime("%Y-%m-%d %H:%M:%S")
            )),
            false => once.push(run),
        }
    }
    once
}

/// The fingerprint of this machine under this build.
pub(crate) fn this_machine() -> String {
    hardware_of(&system::machine(), &super::harness().profile)
}

/// A line a baseline, or an array of them. A file that is no result any more is listed as such.
fn list(all: &[Kept], as_json: bool) -> String {
    let here = this_machine();
    let mut lines = String::new();
    let mut entries = Vec::new();
    for Kept {
        machine,
        name,
        file,
    } in all
    {
        let result = journal::read(file);
        let run = result.as_ref().ok().map(|result| &result.run);
        let shown = match &result {
            Ok(result) => format!(
                "{} on {}, {}",
                result.run.started.strftime("%Y-%m-%d %H:%M"),
                result.run.machine.cpu,
                result.run.name
            ),
            Err(_) => "not a result of this version".into(),
        };
        let this = if *machine == here { "*" } else { " " };
        lines.push_str(&format!("{this} {name}  {shown}  {}\n", file.display()));
        entries.push(json!({
            "name": name,
            "machine": machine,
            "this_machine": *machine == here,
            "file": file,
            "started": run.map(|run| run.started),
            "commit": run.and_then(|run| run.mlxbench.commit.clone()),
            "config": run.map(|run| &run.name),
            "cpu": run.map(|run| &run.machine.cpu),
        }));
    }
    if as_json {
        let mut text = serde_json::to_string_pretty(&entries).expect("its keys are strings");
        text.push('\n');
        return text;
    }
    lines
}
