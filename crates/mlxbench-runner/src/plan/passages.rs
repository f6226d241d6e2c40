//! The text over which quantised weights are compared with full precision, as passages of token ids.

use std::path::Path;

use mlxbench_core::checkpoint::read_text;
use mlxbench_core::results::ModelFacts;
use mlxbench_core::{GemmaConfig, TokenBatch, TokenId};
use mlxbench_models::describe::is_imported;

use crate::Result;
use crate::config::QuantisationConfig;
use crate::prompt::{encode, read_tokenizer};

/// mlxbench's own text: a few thousand tokens of eight kinds of prose, written for this.
pub(super) const OWN_TEXT: &str = include_str!("../quantisation/text.txt");

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

/// The passages that the config asks for; the inner error is why there is nothing to compare. `packed`: whether
/// the model's own weights are codes.
///
/// # Errors
/// When the config names a text that can't be read.
pub(super) fn passages(
    config: &QuantisationConfig,
    base: &Path,
    model: &ModelFacts,
    packed: bool,
    gemma: &GemmaConfig,
) -> Result<Result<Passages, String>> {
    let (name, text) = match &config.text {
        None => ("mlxbench's own text".to_owned(), OWN_TEXT.to_owned()),
        Some(path) => (path.display().to_string(), read_text(&base.join(path))?),
    };
    if config.positions == 0 {
        return Ok(Err("[quantisation] positions is 0".into()));
    }
    if model.source.starts_with("synthetic:") {
        return Ok(Err("random weights have nothing to lose".into()));
    }
    if !model.folder.join("tokenizer.json").is_file() {
        return Ok(Err("no tokenizer.json in the model's folder".into()));
    }
    let tokenizer = read_tokenizer(&model.folder)?;
    let ids = encode(&tokenizer, &text, &model.folder, gemma)?;
    let note = match (packed, is_imported(&model.folder)) {
        (true, _) => Some("the model's own weights are quantised: this understates the cost"),
        (false, true) => Some(
            "the model comes from a GGUF file, whose weights may have been quantised: then this understates \
             the cost",
        ),
        (false, false) => None,
    };
    let cut = cut(&ids, config.positions, gemma);
    Ok(cut
        .map(|(batches, context)| Passages {
            text: name.clone(),
            batches,
            context,
            note: note.map(str::to_owned),
        })
        .map_err(|why| format!("{name} {why}")))
}

/// Passages of `ids` for so many positions, some together, and how many tokens of each are handed over first.
///
/// # Errors
/// When there are too few ids for one.
fn cut(
    ids: &[TokenId],
    positions: usize,
    gemma: &GemmaConfig,
) -> Result<(Vec<TokenBatch>, usize), String> {
    let begin = gemma.bos_token_id.filter(|bos| ids.first() == Some(bos));
    let ids = &ids[begin.iter().len()..];
    let length = LENGTH.min(gemma.max_position_embeddings);
    let context = CONTEXT.min(length / 2);
    let own = length - begin.iter().len();
    let wanted = positions.div_ceil((length - context).max(1));
    let rows: Vec<Vec<TokenId>> = ids
        .chunks_exact(own.max(1))
        .take(wanted)
        .map(|ids| begin.into_iter().chain(ids.iter().copied()).collect())
        .collect();
    if rows.is_empty() {
        return Err(format!("has {} tokens and needs at least {own}", ids.len()));
    }
    let batches = rows.chunks(ROWS).map(TokenBatch::new);
    let batches: Result<Vec<_>, _> = batches.collect();
    Ok((batches.map_err(|error| error.to_string())?, context))
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    #[test]
    fn each_passage_begins_with_the_begin_token_and_none_is_short() {
        let gemma = preset("gemma-3-270m").unwrap().config();
        let ids: Vec<TokenId> = [2].into_iter().chain(100..1500).collect();
        let (batches, context) = cut(&ids, 2048, &gemma).unwrap();
        // 1,400 tokens are five times 255 and a rest.
        let rows: Vec<&[TokenId]> = batches.iter().flat_map(TokenBatch::rows).collect();
        assert_eq!((rows.len(), batches.len(), context), (5, 2, 64));
        for (at, row) in rows.into_iter().enumerate() {
            assert_eq!((row.len(), row[0], row[1]), (256, 2, 100 + 255 * at as u32));
        }
        // 193 positions are two passages.
        let (batches, _) = cut(&ids, 193, &gemma).unwrap();
        assert_eq!(batches[0].batch(), 2);
        let message = cut(&ids[..200], 2048, &gemma).unwrap_err();
        assert_eq!(message, "has 199 tokens and needs at least 255");
    }

    #[test]
    fn a_model_without_a_begin_token_gets_none() {
        let mut gemma = preset("gemma-3-270m").unwrap().config();
        gemma.bos_token_id = None;
        gemma.max_position_embeddings = 8;
        let ids: Vec<TokenId> = (100..120).collect();
        let (batches, context) = cut(&ids, 100, &gemma).unwrap();
        assert_eq!((batches[0].batch(), context), (2, 4));
        assert_eq!(batches[0].rows().next().unwrap(), &ids[..8]);
    }
}
