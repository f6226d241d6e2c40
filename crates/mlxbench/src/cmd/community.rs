//! `mlxbench community`: the folder of everybody's results.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_core::results::RunResult;
use mlxbench_core::text::tell;
use mlxbench_report::{Format, Written};
use mlxbench_runner::share;

use super::history::list;
use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};
use crate::output::print;

/// Where results of everybody are.
pub(crate) const FOLDER: &str = "community";

/// Check and show the results that others shared.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Check shared results: size, schema, file name, no absolute paths. Exit 1 if one fails.
    #[command(after_help = "Example:\n  mlxbench community check community/apple-m4-16/*.json")]
    Check {
        /// Files, or folders of them.
        #[arg(default_value = FOLDER)]
        paths: Vec<PathBuf>,
    },
    /// Write a page of all shared results, by chip.
    #[command(after_help = "Example:\n  mlxbench community page -o community.html")]
    Page {
        /// The folder of everybody's results.
        #[arg(default_value = FOLDER)]
        folder: PathBuf,
        /// The page to write.
        #[arg(
            short,
            long,
            value_name = "FILE.html",
            default_value = "community.html"
        )]
        output: PathBuf,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Check { paths } => check(paths),
        Verb::Page { folder, output } => page(folder, output),
    }
}

fn check(paths: &[PathBuf]) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => list(path, &mut files)?,
            false => files.push(path.clone()),
        }
    }
    let mut wrong = 0;
    for file in &files {
        if let Err(why) = read(file)? {
            wrong += 1;
            print(format!("{}: {why}\n", file.display()).as_bytes())?;
        }
    }
    tell(format_args!(
        "{} results, {wrong} of them wrong",
        files.len()
    ));
    Ok(if wrong > 0 {
        Exit::Regression
    } else {
        Exit::Fine
    })
}

/// A shared result, or what is wrong with it.
fn read(file: &Path) -> anyhow::Result<Result<RunResult, String>> {
    let shown = || file.display().to_string();
    let size = file.metadata().with_context(shown)?.len();
    if size > share::MOST_BYTES as u64 {
        return Ok(Err(format!(
            "{size} bytes: {} at most are taken",
            share::MOST_BYTES
        )));
    }
    let bytes = fs::read(file).with_context(shown)?;
    Ok(share::check(file, &bytes))
}

fn page(folder: &Path, output: &Path) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let kind = Kind::Report(Written::Report(Format::Html));
    Outputs::beside(files.iter().map(PathBuf::as_path)).claim(output, kind)?;
    let mut chips: BTreeMap<String, Vec<RunResult>> = BTreeMap::new();
    for file in &files {
        match read(file)? {
            Ok(result) => {
                let chip = file.parent().and_then(Path::file_name).unwrap_or_default();
                let chip = chip.to_string_lossy().into_owned();
                chips.entry(chip).or_default().push(result);
            }
            Err(why) => tell(format_args!("left out: {}: {why}", file.display())),
        }
    }
    if chips.is_empty() {
        bail!(
            "{} holds no shared result: `mlxbench share RESULT` writes one",
            folder.display()
        );
    }
    outfile::replace(output, &mlxbench_report::community(&chips))?;
    tell(format_args!(
        "wrote {}, of {} chips",
        output.display(),
        chips.len()
    ));
    Ok(Exit::Fine)
}
