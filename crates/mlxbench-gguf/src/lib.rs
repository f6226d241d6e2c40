//! A Gemma GGUF file to a model folder in the Hugging Face layout.
//!
//! This is a program of its own because most of the dequantisation is candle's, and the command
//! line of mlxbench links no framework. candle's own reader of GGUF isn't used: it knows fewer
//! types, and it takes a header's word for more.
//!
//! | module | its subject |
//! |---|---|
//! | [`value`] | typed values, read without trusting a length |
//! | [`types`] | ggml's tensor types, and which of them can be read |
//! | [`header`] | a file's metadata and tensors, checked against its bytes |
//! | [`parts`] | a model's files: one, or all parts of a split one |
//! | [`metadata`] | typed access to the metadata, and which keys were read |
//! | [`config`] | Gemma's configuration from the metadata |
//! | [`weights`] | names, norms and values of the tensors |
//! | [`dequantise`] | stored blocks to f32 |
//! | [`tokenizer`] | `tokenizer.json` from the file's vocabulary |

pub mod config;
pub mod dequantise;
pub mod header;
pub mod metadata;
pub mod parts;
pub mod tokenizer;
pub mod types;
pub mod value;
pub mod weights;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_core::checkpoint::GGUF_FILE;
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig};
use mlxbench_models::Error;
use mlxbench_models::describe::GGUF_UNUSED_KEYS;
use mlxbench_models::write::{self, Contents, SHARD_BYTES};

use crate::parts::{Model, Parts};
use crate::weights::Weights;

/// What should be known of an import that succeeded.
#[derive(Debug)]
pub struct Imported {
    /// The keys of the metadata that weren't used; none of them changes the model's work.
    pub unused_keys: Vec<String>,
    /// Whether text can be made into token ids.
    pub has_tokenizer: bool,
}

/// Imports `file` to `folder`, which must be new or empty, with weights in `dtype`. `file` may be
/// any part of a model that was split into several GGUF files.
///
/// `tokenizer.json` is `tokenizer` where given, else the one beside `file`, else one made from the
/// file's own vocabulary; a file without one makes a folder that takes token ids alone. `chat_template.jinja` is the
/// file's chat template, where it has one.
///
/// # Errors
/// When the file is no whole GGUF of a Gemma or ends in zeros as after a broken download, its metadata are impossible or ask for work that
/// can't be done, it has a tensor of an unknown name or type, or the folder can't be written. Then
/// there is no folder.
pub fn import(
    file: &Path,
    folder: &Path,
    dtype: Dtype,
    tokenizer: Option<&Path>,
) -> anyhow::Result<Imported> {
    let parts = Parts::open(file)?;
    let model = parts.model()?;
    parts.check_whole(&model)?;
    write(&model, file, folder, dtype, tokenizer).with_context(|| file.display().to_string())?;
    let unread = model.metadata.unread().into_iter();
    Ok(Imported {
        unused_keys: unread.map(str::to_owned).collect(),
        has_tokenizer: folder.join("tokenizer.json").is_file(),
    })
}

fn write(
    model: &Model<'_>,
    file: &Path,
    folder: &Path,
    dtype: Dtype,
    tokenizer: Option<&Path>,
) -> anyhow::Result<()> {
    let config = config::config(model)?;
    let tensors = config.tensors();
    let weights = Weights::new(&model.tensors, config.generation, dtype);
    weights.check(&tensors)?;
    let mut json = config.to_json(dtype)?;
    check_kept(&config, &json.to_string())?;
    let vocabulary = match tokenizer_file(file, tokenizer)? {
        Some(path) => TokenizerSource::File(path),
        None => match tokenizer::from_vocabulary(&model.metadata, config.vocab_size) {
            Ok(Some(made)) => TokenizerSource::Vocabulary(Box::new(made)),
            Ok(None) => TokenizerSource::Nothing,
            Err(error) => return Err(error.context("no tokenizer can be made")),
        },
    };
    let template = model.metadata.text("tokenizer.chat_template")?;
    json[GGUF_UNUSED_KEYS] = model.metadata.unread().into();
    // What can't be written as text can't be found again: such a file is imported and no more.
    let path = file.canonicalize().ok();
    json[GGUF_FILE] = path.as_deref().and_then(Path::to_str).into();
    let text = format!("{json:#}\n");
    let contents = Contents {
        config: &text,
        tensors: &tensors,
        dtype,
        shard_bytes: SHARD_BYTES,
    };
    write::model(
        folder,
        &contents,
        |spec| weights.tensor(spec),
        |folder| {
            vocabulary.write(&folder.join("tokenizer.json"))?;
            if let Some(template) = template {
                let path = folder.join("chat_template.jinja");
                let written = std::fs::write(&path, template);
                written.map_err(|error| mlxbench_core::Error::io(path, error))?;
            }
            // What every other folder must pass, before this one gets its name.
            Checkpoint::open(folder)?;
            Ok(())
        },
    )?;
    Ok(())
}

/// Checks that who reads the `config.json` of `text` gets `config`.
fn check_kept(config: &GemmaConfig, text: &str) -> anyhow::Result<()> {
    let kept = GemmaConfig::from_json(text)?;
    if kept == *config {
        return Ok(());
    }
    let (kept, config) = (serde_json::to_value(kept)?, serde_json::to_value(config)?);
    let fields = config.as_object().into_iter().flatten();
    let lost: Vec<String> = fields
        .filter(|(name, value)| kept[name.as_str()] != **value)
        .map(|(name, value)| format!("`{name}` {value}"))
        .collect();
    bail!(
        "a config.json can't say {} of this generation of Gemma",
        lost.join(", ")
    )
}

fn tokenizer_file(file: &Path, named: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let path = match named {
        Some(path) if !path.is_file() => bail!("{}: no such file", path.display()),
        Some(path) => path.to_owned(),
        None => file.with_file_name("tokenizer.json"),
    };
    if !path.is_file() {
        return Ok(None);
    }
    if let Err(error) = tokenizers::Tokenizer::from_file(&path) {
        bail!("{}: no tokenizer ({error})", path.display());
    }
    Ok(Some(path))
}

enum TokenizerSource {
    File(PathBuf),
    Vocabulary(Box<tokenizers::Tokenizer>),
    Nothing,
}

impl TokenizerSource {
    fn write(&self, target: &Path) -> Result<(), Error> {
        match self {
            Self::File(path) => std::fs::copy(path, target)
                .map(drop)
                .map_err(|error| Error::io(path, error)),
            Self::Vocabulary(tokenizer) => tokenizer
                .save(target, false)
                .map_err(|error| Error::Invalid(format!("{}: {error}", target.display()))),
            Self::Nothing => Ok(()),
        }
    }
}
