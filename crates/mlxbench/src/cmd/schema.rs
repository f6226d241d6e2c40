//! `mlxbench schema`: what configs and results look like, for editors and scripts.

use mlxbench_core::results::RunResult;
use mlxbench_core::trial::Matrix;
use mlxbench_runner::config::Config;
use schemars::schema_for;

use crate::exit::Exit;
use crate::output::print;

/// Print the JSON Schema of configs, of result files or of what `mlxbench ops` prints.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench schema config > schemas/config.json")]
pub(crate) struct Args {
    /// Of what.
    of: Of,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Of {
    /// A benchmark's TOML file, as the JSON that it corresponds to.
    Config,
    /// A result file.
    Result,
    /// What `mlxbench ops --format json` prints.
    Ops,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let schema = match args.of {
        Of::Config => schema_for!(Config),
        Of::Result => schema_for!(RunResult),
        Of::Ops => schema_for!(Matrix),
    };
    let text = serde_json::to_string_pretty(&schema)?;
    print(format!("{text}\n").as_bytes())?;
    Ok(Exit::Fine)
}
