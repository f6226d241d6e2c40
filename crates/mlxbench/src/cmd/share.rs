//! `mlxbench share`: a result without names and paths, where others find it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mlxbench_core::text::tell;
use mlxbench_runner::journal;
use mlxbench_runner::share::shared;

use super::community::FOLDER;
use crate::exit::Exit;
use crate::outfile;
use crate::output::print;

/// Write a result for others to `community/<chip>-<GB>/<UTC>-<hash>.json`, without paths and without the names of
/// this user and this machine.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench share results/quick/20261123T070000Z.json")]
pub(crate) struct Args {
    /// A result file.
    result: PathBuf,
    /// The folder of everybody's results.
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    into: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let result = journal::read(&args.result)?;
    let shared = shared(&result).with_context(|| args.result.display().to_string())?;
    let path = args.into.join(&shared.path);
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    outfile::replace(&path, &shared.bytes)?;
    print(format!("{}\n", path.display()).as_bytes())?;
    tell(format_args!(
        "Paths, user and host names are gone from it; look at it all the same before you send it:\n  \
         git switch -c share && git add {0} && git commit -m 'Share a result' && git push -u origin share\n\
         and open a pull request, in a clone of mlxbench's repository.",
        path.display()
    ));
    Ok(Exit::Fine)
}
