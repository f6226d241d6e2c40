//! The program that `mlxbench model import` starts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mlxbench_core::Dtype;

/// Turn a Gemma GGUF file into a model folder in the Hugging Face layout, and print the folder.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The GGUF file.
    file: PathBuf,
    /// The folder to make.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The dtype of the weights.
    #[arg(long, value_name = "T", default_value = "bf16")]
    dtype: Dtype,
    /// A tokenizer.json to take; else one beside FILE, else one made from FILE's vocabulary.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match mlxbench_gguf::import(
        &args.file,
        &args.output,
        args.dtype,
        args.tokenizer.as_deref(),
    ) {
        Ok(()) => {
            println!("{}", args.output.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
