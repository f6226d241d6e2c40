//! `mlxbench history`: results over commits and time, as a page and in text.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_analysis::history::Entry;
use mlxbench_core::results::RunResult;
use mlxbench_core::text::tell;
use mlxbench_report::{Format, History, Written};
use mlxbench_runner::journal;
use rayon::prelude::*;

use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};
use crate::output::print;

/// Show how results changed over commits and time: a page with a line for each target, its
/// intervals, and marks where a level changed. The changes are printed, too.
///
/// A level takes five results to be seen, on either side of a change.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench history results/quick -o quick.html
  mlxbench history results/quick --fail-on worse    # exit 1 where a figure stands on a worse level")]
pub(crate) struct Args {
    /// A folder of result files; those in folders below count, too.
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// The page to write.
    #[arg(short, long, value_name = "FILE.html", default_value = "history.html")]
    output: PathBuf,
    /// Exit with 1 where the last change of a figure's level is for the worse.
    #[arg(long, value_name = "WHAT")]
    fail_on: Option<FailOn>,
}

/// What makes a history fail.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A figure whose last change of level was for the worse.
    Worse,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    list(&args.folder, &mut files)?;
    files.sort();
    let page = Kind::Report(Written::Report(Format::Html));
    Outputs::beside(files.iter().map(PathBuf::as_path)).claim(&args.output, page)?;
    // Thousands of results don't fit into memory: of each stays what is needed.
    let entry = |file: &PathBuf| {
        let result = journal::read(file)?;
        // Whose sides come and go with what was compared.
        let plain = result.run.sides.is_none();
        Ok::<_, mlxbench_runner::Error>(plain.then(|| Entry::of(&result)))
    };
    let read: Vec<_> = files.par_iter().map(entry).collect();
    let (mut known, mut entries): (Vec<&PathBuf>, Vec<Entry>) = (Vec::new(), Vec::new());
    let mut of_ab = 0;
    for (file, entry) in files.iter().zip(read) {
        match entry {
            Ok(None) => of_ab += 1,
            Ok(Some(entry)) => {
                let of_same_run = |other: &Entry| {
                    (other.started, &other.config) == (entry.started, &entry.config)
                };
                match entries.iter().position(of_same_run) {
                    Some(first) => {
                        let (file, first) = (file.display(), known[first].display());
                        tell(format_args!(
                            "left out: {file} is of the same run as {first}"
                        ));
                    }
                    None => {
                        known.push(file);
                        entries.push(entry);
                    }
                }
            }
            Err(error) => tell(format_args!("left out: {error}")),
        }
    }
    if of_ab > 0 {
        tell(format_args!("left out: results of `run --ab`: {of_ab}"));
    }
    if entries.is_empty() {
        let folder = args.folder.display();
        bail!("{folder} holds no result: let `mlxbench run CONFIG` write some");
    }
    let newest = mlxbench_report::newest(&entries).into_iter();
    // One that went away meanwhile is in the lines all the same.
    let newest: Vec<RunResult> = newest
        .filter_map(|at| journal::read(known[at]).ok())
        .collect();
    let History { page, text, worse } = mlxbench_report::history(&entries, &newest);
    let output = args.output.display();
    outfile::replace(&args.output, &page)?;
    print(text.as_bytes())?;
    tell(format_args!("wrote {output}, of {} results", entries.len()));
    Ok(match args.fail_on {
        Some(FailOn::Worse) if worse > 0 => Exit::Regression,
        Some(FailOn::Worse) | None => Exit::Fine,
    })
}

/// Adds the result files in `folder` and below. Journals are runs that still go on, or will.
pub(super) fn list(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let shown = || folder.display().to_string();
    for entry in fs::read_dir(folder).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let path = entry.path();
        // A link isn't followed: it may lead back here.
        if entry.file_type().with_context(shown)?.is_dir() {
            list(&path, files)?;
        } else if path.is_file() && path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    Ok(())
}
