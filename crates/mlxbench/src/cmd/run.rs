//! `mlxbench run`: a config to a result.

use std::path::PathBuf;

use mlxbench_core::results::Residency;
use mlxbench_report::Format;
use mlxbench_runner::config::Config;
use mlxbench_runner::execute::{End, Options, Outcome, execute};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::plan::plan;

use crate::exit::Exit;
use crate::output::{Progress, print, terminal_width};

/// Run a benchmark and write its result.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench run bench-configs/quick.toml
  mlxbench run bench-configs/gemma3-270m.toml --filter candle/cpu/f32")]
pub(crate) struct Args {
    /// The benchmark's TOML file.
    config: PathBuf,
    /// Run only cases whose name contains this; a case is named `candle/cpu/f32 pp64+tg16`.
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,
    /// Folder of results: the run's files go to the subfolder of the config's name.
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Go on with the newest run of this config that was cut short.
    #[arg(long)]
    resume: bool,
    /// Print the result as JSON, and nothing else.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let config = Config::read(&args.config)?;
    let plan = plan(&config, &args.config)?;
    if !args.json {
        introduce(&plan);
    }
    let options = Options {
        out: args.out,
        resume: args.resume,
        filter: args.filter,
        harness: super::harness(),
    };
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    let mut progress = Progress::new(args.json);
    let outcome = execute(&plan, &options, &interrupt, &mut |event| {
        progress.show(&event)
    })?;
    progress.finish();
    let format = match args.json {
        true => Format::Json,
        false => Format::Terminal {
            width: terminal_width(),
        },
    };
    let table = mlxbench_report::render(std::slice::from_ref(&outcome.result), &[], format);
    // The table goes out even when the result file could not be written.
    let printed = print(&table);
    let exit = conclude(&outcome, args.json);
    printed.map(|()| exit)
}

fn introduce(plan: &mlxbench_runner::plan::Plan) {
    eprintln!(
        "model: {} in {}",
        plan.model.source,
        plan.model.folder.display()
    );
    if let Some(reason) = &plan.model.fallback_reason {
        eprintln!("the config's fallback was taken: {reason}");
    }
    if plan.settings.residency == Residency::OneAtATime {
        eprintln!("memory is too small for all models together: workers are loaded one at a time");
    }
}

fn conclude(outcome: &Outcome, quiet: bool) -> Exit {
    match &outcome.end {
        End::Finished(path) => {
            if !quiet {
                eprintln!("result: {}", path.display());
            }
            if outcome.failed {
                Exit::Degraded
            } else {
                Exit::Fine
            }
        }
        End::Interrupted(journal) => {
            eprintln!(
                "interrupted: {} repetitions are kept in {}; go on with --resume",
                outcome.result.samples.len(),
                journal.display()
            );
            Exit::Interrupted
        }
        End::OutputFailed(error) => {
            eprintln!(
                "error: results can't be written: {error}; the run stopped, what was measured is \
                 printed above, and what was written before can go on with --resume"
            );
            Exit::Degraded
        }
    }
}
