//! The command line of mlxbench: one file a verb in `cmd`.

mod cmd;
mod exit;
mod live;
mod making;
mod outfile;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mlxbench_core::text::tell;

use crate::exit::Exit;

/// How fast, how lean and how right is Gemma text generation on this machine, under PyTorch, MLX
/// and candle?
#[derive(Parser)]
#[command(version, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(cmd::run::Args),
    Bench(cmd::bench::Args),
    Generate(cmd::generate::Args),
    Report(cmd::report::Args),
    Compare(cmd::compare::Args),
    Baseline(cmd::baseline::Args),
    History(cmd::history::Args),
    Bisect(cmd::bisect::Args),
    #[command(hide = true)]
    BisectStep(cmd::bisect::StepArgs),
    Init(cmd::init::Args),
    Doctor(cmd::doctor::Args),
    Ops(cmd::ops::Args),
    Share(cmd::share::Args),
    Community(cmd::community::Args),
    Model(cmd::model::Args),
    Schema(cmd::schema::Args),
}

fn main() -> ExitCode {
    cmd::bear_file_size_limits();
    let outcome = match Cli::parse_from(cmd::bench::with_long_pairs(std::env::args_os())).verb {
        Verb::Run(args) => cmd::run::run(args),
        Verb::Bench(args) => cmd::bench::run(args),
        Verb::Generate(args) => cmd::generate::run(args),
        Verb::Report(args) => cmd::report::run(args),
        Verb::Compare(args) => cmd::compare::run(&args),
        Verb::Baseline(args) => cmd::baseline::run(&args),
        Verb::History(args) => cmd::history::run(&args),
        Verb::Bisect(args) => cmd::bisect::run(&args),
        Verb::BisectStep(args) => return cmd::bisect::step(&args).into(),
        Verb::Init(args) => cmd::init::run(&args),
        Verb::Doctor(args) => cmd::doctor::run(&args),
        Verb::Ops(args) => cmd::ops::run(&args),
        Verb::Share(args) => cmd::share::run(&args),
        Verb::Community(args) => cmd::community::run(&args),
        Verb::Model(args) => cmd::model::run(args),
        Verb::Schema(args) => cmd::schema::run(&args),
    };
    let exit = outcome.unwrap_or_else(|error| {
        tell(format_args!("error: {error:#}"));
        Exit::Usage
    });
    exit.into()
}
