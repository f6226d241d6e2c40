//! The text over which quantised weights are compared with full precision, as passages of token ids.

use std::path::Path;

use mlxbench_core::checkpoint::read_text;
use mlxbench_core::results::ModelFacts;
use mlxbench_core::{GemmaConfig, TokenBatch, TokenId};
use mlxbench_models::describe::is_imported;

use crate::config::QuantisationConfig;
use crate::prompt::{encode, read_tokenizer};

/// mlxbench's own text: a few thousand tokens of eight kinds of prose, written for this.
const OWN_TEXT: &str = include_str!("../quantisation/text.txt");

/// Tokens of a passage at most, the begin token included.
const LENGTH: usize = 256;

/// Tokens of a passage that are handed over first: what follows them is predicted with some context, as
/// llama-perplexity leaves out the first half of each of its windows.
const CONTEXT: usize = 64;

/// Passages that are scored together. A file of their logits has 4 bytes for each position and token.
const ROWS: usize = 4;

/// A text cut to passages.
#[derive(Debug)]
pub struct Passages {
    /// The text's name.
    pub text: String,
    /// Passages of equal length, some together.
    pub batches: Vec<TokenBatch>,
    /// How many tokens of each are handed over before the compared positions.
    pub context: usize,
    /// What is to be known of the model's own weights.
    pub note: Option<String>,
}

/// The passages that the config asks for, or why there is nothing to compare.
pub(super) fn passages(
    config: &QuantisationConfig,
    base: &Path,
    model: &ModelFacts,
    gemma: &GemmaConfig,
) -> Result<Passages, String> {
    if config.positions == 0 {
        return Err("[quantisation] positions is 0".into());
    }
    if model.source.starts_with("synthetic:") {
        return Err("random weights have nothing to lose".into());
    }
    let (name, text) = match &config.text {
        None => ("mlxbench's own text".to_owned(), OWN_TEXT.to_owned()),
        Some(path) => {
            let text = read_text(&base.join(path)).map_err(|error| error.to_string())?;
            (path.display().to_string(), text)
        }
    };
    let tokenizer = read_tokenizer(&model.folder).map_err(|error| error.to_string())?;
    let ids = encode(&tokenizer, &text, &model.folder, gemma).map_err(|error| error.to_string())?;
    let begin = gemma.bos_token_id.filter(|bos| ids.first() == Some(bos));
    let ids = &ids[begin.iter().len()..];
    let length = LENGTH.min(gemma.max_position_embeddings);
    let context = CONTEXT.min(length / 2);
    let own = length - begin.iter().len();
    let wanted = config.positions.div_ceil((length - context).max(1));
    let rows: Vec<Vec<TokenId>> = ids
        .chunks_exact(own.max(1))
        .take(wanted)
        .map(|ids| begin.into_iter().chain(ids.iter().copied()).collect())
        .collect();
    if rows.is_empty() {
        let tokens = ids.len();
        return Err(format!("{name} has {tokens} tokens: {own} are the fewest"));
    }
    let batch = |rows: &[Vec<TokenId>]| TokenBatch::new(rows).map_err(|error| error.to_string());
    Ok(Passages {
        text: name,
        batches: rows.chunks(ROWS).map(batch).collect::<Result<_, _>>()?,
        context,
        note: is_imported(&model.folder).then(|| {
            "the model comes from a GGUF file, whose weights may have been quantised before: then this \
             understates what quantising costs"
                .to_owned()
        }),
    })
}
