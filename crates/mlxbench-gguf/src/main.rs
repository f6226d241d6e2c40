//! The program that `mlxbench model import` starts.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mlxbench_core::Dtype;

/// Turn a Gemma GGUF file into a model folder in the Hugging Face layout, and print the folder.
///
/// Keys of the file's metadata that don't matter to the model's work are listed on stderr.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The GGUF file, or any part of a split one (NAME-00001-of-00003.gguf).
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
        Ok(imported) => {
            if !imported.has_tokenizer {
                tell("no tokenizer.json: the file has no vocabulary, so give token ids");
            }
            if !imported.unused_keys.is_empty() {
                let keys = imported.unused_keys.join(", ");
                tell(&format!(
                    "not used, since the model's work is the same: {keys}"
                ));
            }
            // The folder is there, whether somebody still reads its name or not.
            let _ = writeln!(std::io::stdout(), "{}", args.output.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// To stderr, which may be closed.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
