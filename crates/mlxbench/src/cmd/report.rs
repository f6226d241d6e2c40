//! `mlxbench report`: results to tables and files.

use std::path::PathBuf;

use anyhow::Context;
use mlxbench_report::Format;
use mlxbench_runner::journal;

use crate::exit::Exit;
use crate::output::{print, terminal_width};

/// Show results: a table on the terminal, or Markdown, CSV, JSON.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench report results/quick/20261123T070000Z.json
  mlxbench report results/quick/*.json --format csv -o quick.csv")]
pub(crate) struct Args {
    /// Result files, or journals of runs that were cut short.
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Write to FILE in place of stdout; its ending decides the format.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// text, md, csv or json.
    #[arg(long)]
    format: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let ending = args
        .output
        .as_ref()
        .and_then(|path| path.extension()?.to_str());
    let format = match args.format.as_deref().or(ending) {
        None | Some("text" | "txt") => {
            let width = if args.output.is_some() {
                None
            } else {
                terminal_width()
            };
            Format::Terminal { width }
        }
        Some(name) => name.parse().map_err(anyhow::Error::msg)?,
    };
    let results = args
        .results
        .iter()
        .map(|path| journal::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let bytes = mlxbench_report::render(&results, format);
    match &args.output {
        Some(path) => std::fs::write(path, bytes).with_context(|| path.display().to_string())?,
        None => print(&bytes)?,
    }
    Ok(Exit::Fine)
}
