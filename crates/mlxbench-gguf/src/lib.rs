//! A Gemma GGUF file to a model folder in the Hugging Face layout.
//!
//! This is a program of its own because dequantisation is candle's, and the command line of
//! mlxbench links no framework.
//!
//! | module | its subject |
//! |---|---|
//! | [`metadata`] | the file's facts, and Gemma's configuration from them |
//! | [`weights`] | names, norms and dequantisation |
//! | [`tokenizer`] | `tokenizer.json` from the file's vocabulary |

pub mod metadata;
pub mod tokenizer;
pub mod weights;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use candle_core::quantized::gguf_file::Content;
use mlxbench_core::Dtype;
use mlxbench_models::Error;
use mlxbench_models::write::{self, Contents, SHARD_BYTES};

use crate::metadata::Metadata;
use crate::weights::Weights;

/// Imports `file` to `folder`, which must be new or empty, with weights in `dtype`.
///
/// `tokenizer.json` is `tokenizer` where given, else the one beside `file`, else one made from the
/// file's own vocabulary.
///
/// # Errors
/// When the file is no whole GGUF of a Gemma, has a tensor type that candle doesn't know, or the
/// folder can't be written.
pub fn import(
    file: &Path,
    folder: &Path,
    dtype: Dtype,
    tokenizer: Option<&Path>,
) -> anyhow::Result<()> {
    let mut reader = std::io::BufReader::new(
        std::fs::File::open(file).with_context(|| file.display().to_string())?,
    );
    let content = Content::read(&mut reader)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("{}: not a whole GGUF file", file.display()))?;
    let metadata = Metadata::new(&content);
    let config = metadata
        .config()
        .with_context(|| file.display().to_string())?;
    let tensors = config.tensors();
    let weights = Weights::new(file, &content, reader, config.generation, dtype);
    weights.check(&tensors)?;

    let vocabulary = match tokenizer_file(file, tokenizer)? {
        Some(path) => TokenizerSource::File(path),
        None => TokenizerSource::Vocabulary(Box::new(
            tokenizer::from_vocabulary(&metadata).context("no tokenizer can be made")?,
        )),
    };
    let text = format!("{:#}\n", config.to_json(dtype));
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
        |folder| vocabulary.write(&folder.join("tokenizer.json")),
    )?;
    Ok(())
}

fn tokenizer_file(file: &Path, named: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = named {
        if !path.is_file() {
            bail!("{}: no such file", path.display());
        }
        return Ok(Some(path.to_owned()));
    }
    let beside = file.with_file_name("tokenizer.json");
    Ok(beside.is_file().then_some(beside))
}

enum TokenizerSource {
    File(PathBuf),
    Vocabulary(Box<tokenizers::Tokenizer>),
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
        }
    }
}
