//! `mlxbench model`: where models come from, and what is in them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_core::checkpoint::read_text;
use mlxbench_core::gemma::{PRESETS, preset};
use mlxbench_core::{Dtype, GemmaConfig};
use mlxbench_models::source::Source;
use mlxbench_models::{describe, gguf, synth};

use crate::exit::Exit;
use crate::making::Making;
use crate::output::{print, size};

/// Fetch, import, make, show and list models.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Bring a model to this machine and print its folder.
    #[command(after_help = "Example:\n  mlxbench model fetch hf:google/gemma-3-270m")]
    Fetch {
        #[arg(help = super::MODEL_HELP)]
        source: String,
    },
    /// Turn a Gemma GGUF file into a model folder in the Hugging Face layout.
    ///
    /// Keys of the file's metadata that don't matter to the model's work are listed on stderr; one
    /// that could matter and isn't known is an error.
    #[command(after_help = "Example:\n  mlxbench model import gemma-3-270m-q4_k_m.gguf -o gemma3")]
    Import {
        /// The GGUF file, or any part of a split one (NAME-00001-of-00003.gguf).
        file: PathBuf,
        /// The folder to make.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// The dtype of the weights: bf16, f16 or f32.
        #[arg(long, value_name = "T", default_value = "bf16")]
        dtype: Dtype,
        /// A tokenizer.json to take; else one beside FILE, else one made from FILE's vocabulary.
        #[arg(long, value_name = "FILE")]
        tokenizer: Option<PathBuf>,
    },
    /// Make a model of random weights in the exact shapes of a preset or of a config.json.
    #[command(after_help = "Example:\n  mlxbench model synth gemma-2-2b -o gemma-2-2b-random")]
    Synth {
        /// A preset (see `mlxbench model list`) or the path of a config.json.
        shapes: String,
        /// The folder to make.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// Another seed, other weights.
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
        /// The dtype of the weights.
        #[arg(long, value_name = "T", default_value = "bf16")]
        dtype: Dtype,
    },
    /// Show a model's architecture, parameters and bytes, what running it needs, and every fact that
    /// was derived from its files with the key that it came from.
    #[command(after_help = "Example:\n  mlxbench model show gemma3 --json")]
    Show {
        /// A model folder, or the name of a model that is on this machine (`hf:owner/name[@revision]`,
        /// `gguf:FILE`, `synthetic:PRESET[@seed]`).
        model: OsString,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the presets.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::Fetch { source } => {
            let folder = source
                .parse::<Source>()?
                .resolve(&Making::new(false).watch())?;
            print(format!("{}\n", folder.display()).as_bytes())?;
        }
        Verb::Import {
            file,
            output,
            dtype,
            tokenizer,
        } => {
            refuse_file(&output)?;
            return import(&file, &output, dtype, tokenizer.as_deref());
        }
        Verb::Synth {
            shapes,
            output,
            seed,
            dtype,
        } => {
            refuse_file(&output)?;
            let making = Making::new(false);
            synth::write(&shapes_of(&shapes)?, dtype, seed, &output, &making.watch())?;
            print(format!("{}\n", output.display()).as_bytes())?;
        }
        Verb::Show { model, json } => {
            let description = describe::describe(&Source::named(&model)?.local()?)?;
            let text = match json {
                true => format!("{}\n", serde_json::to_string_pretty(&description)?),
                false => description.to_string(),
            };
            print(text.as_bytes())?;
        }
        Verb::List { json } => list(json)?,
    }
    Ok(Exit::Fine)
}

/// Dequantisation is a framework's work, and this program links none: another does it.
fn import(
    file: &Path,
    output: &Path,
    dtype: Dtype,
    tokenizer: Option<&Path>,
) -> anyhow::Result<Exit> {
    let mut command = gguf::importer(file, output, dtype)?;
    if let Some(tokenizer) = tokenizer {
        command.arg("--tokenizer").arg(tokenizer);
    }
    let status = command.status().context("the importer of GGUF files")?;
    match status.code() {
        Some(0) => Ok(Exit::Fine),
        // It has said why.
        Some(_) => Ok(Exit::Usage),
        None => {
            bail!("the importer was ended from outside ({status}): is there too little memory?")
        }
    }
}

/// Sees that no file is where a model's folder is to be. A folder that holds something is left alone by
/// whoever writes the model.
fn refuse_file(output: &Path) -> anyhow::Result<()> {
    match output.symlink_metadata() {
        Ok(found) if !output.is_dir() && !found.is_dir() => {
            bail!("{} is a file: name a new folder", output.display())
        }
        _ => Ok(()),
    }
}

fn shapes_of(name: &str) -> anyhow::Result<GemmaConfig> {
    if let Some(preset) = preset(name) {
        return Ok(preset.config());
    }
    let path = Path::new(name);
    if path.is_file() {
        let text = read_text(path)?;
        return GemmaConfig::from_json(&text).with_context(|| path.display().to_string());
    }
    let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
    bail!(
        "`{name}` is neither a config.json nor a preset: the presets are {}",
        names.join(", ")
    )
}

fn list(json: bool) -> anyhow::Result<()> {
    let rows = PRESETS.iter().map(|preset| (preset, preset.config()));
    let text = if json {
        let rows = rows.map(|(preset, config)| {
            serde_json::json!({
                "preset": preset.name,
                "hub": preset.hub,
                "parameters": config.parameters(),
                "bf16_bytes": config.weights_bytes(Dtype::Bf16.into()),
            })
        });
        format!(
            "{}\n",
            serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?
        )
    } else {
        rows.map(|(preset, config)| {
            let bytes = config.weights_bytes(Dtype::Bf16.into());
            let size = size(bytes);
            let millions = config.parameters() / 1_000_000;
            format!(
                "{:<14} {millions:>5} M  {size:>10} in bf16  {}\n",
                preset.name, preset.hub
            )
        })
        .collect()
    };
    print(text.as_bytes())
}
