//! `tokenizer.json` from a GGUF file's own vocabulary.
//!
//! GGUF carries SentencePiece's pieces and scores, not the merges of the byte-pair encoding that
//! `tokenizers` runs. They follow from the scores: every way to put a piece together from two
//! others is a merge, best score first. Source: `generate_merges` and `GemmaConverter` in
//! transformers' `convert_slow_tokenizer.py`.

use std::collections::HashMap;

use anyhow::{Context, bail};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::Replace;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::metadata::{Metadata, integer};

/// SentencePiece's stand-in for a space.
const SPACE: &str = "\u{2581}";
/// GGUF's token types (`llama_token_type` in llama.cpp).
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;

/// The tokenizer of a file's vocabulary.
///
/// # Errors
/// When the file has none, or another kind than SentencePiece's.
pub fn from_vocabulary(metadata: &Metadata<'_>) -> anyhow::Result<Tokenizer> {
    let model = metadata.text("tokenizer.ggml.model")?;
    if model != "llama" {
        bail!("the file's tokenizer is `{model}`, not SentencePiece's `llama`: give --tokenizer");
    }
    let mut pieces: Vec<String> = metadata
        .list("tokenizer.ggml.tokens")?
        .iter()
        .map(|piece| piece.to_string().cloned().context("a piece is no text"))
        .collect::<Result<_, _>>()?;
    let mut scores: Vec<f32> = metadata
        .list("tokenizer.ggml.scores")?
        .iter()
        .map(|score| score.to_f32().context("a score is no number"))
        .collect::<Result<_, _>>()?;
    let types: Vec<usize> = metadata
        .list("tokenizer.ggml.token_type")?
        .iter()
        .map(integer)
        .collect::<Result<_, _>>()?;
    if scores.len() != pieces.len() || types.len() != pieces.len() {
        bail!(
            "the file's vocabulary has {} pieces, {} scores, {} types",
            pieces.len(),
            scores.len(),
            types.len()
        );
    }
    for ((piece, score), _) in pieces
        .iter_mut()
        .zip(&mut scores)
        .zip(&types)
        .filter(|(_, kind)| **kind == USER_DEFINED)
    {
        // llama.cpp's converter writes these pieces' spaces as spaces, and a score of its own. In
        // SentencePiece they come before all others, so that runs of spaces and lines are whole.
        *piece = piece.replace(' ', SPACE);
        *score = 0.0;
    }
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    build(&pieces, &scores, &types, metadata)
}

fn build(
    pieces: &[&str],
    scores: &[f32],
    types: &[usize],
    metadata: &Metadata<'_>,
) -> anyhow::Result<Tokenizer> {
    let ids: HashMap<&str, u32> = pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (*piece, id as u32))
        .collect();
    let vocabulary: Vocab = ids
        .iter()
        .map(|(piece, id)| ((*piece).to_owned(), *id))
        .collect();
    let unknown = match metadata.count("tokenizer.ggml.unknown_token_id")? {
        Some(id) => pieces.get(id).copied(),
        None => None,
    };
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges(pieces, scores, &ids))
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(unknown) = unknown {
        bpe = bpe.unk_token(unknown.to_owned());
    }
    let mut tokenizer = Tokenizer::new(bpe.build().map_err(failed)?);
    tokenizer
        .with_normalizer(Some(Replace::new(" ", SPACE).map_err(failed)?))
        .map_err(failed)?;
    let space = SplitPattern::String(" ".into());
    let behavior = SplitDelimiterBehavior::MergedWithPrevious;
    tokenizer.with_pre_tokenizer(Some(Split::new(space, behavior, false).map_err(failed)?));
    tokenizer.with_decoder(Some(Sequence::new(vec![
        Replace::new(SPACE, " ").map_err(failed)?.into(),
        ByteFallback::default().into(),
        Fuse::default().into(),
    ])));
    if let Some(bos) = metadata.count("tokenizer.ggml.bos_token_id")?
        && let Some(piece) = pieces.get(bos)
    {
        let template = TemplateProcessing::builder()
            .try_single(format!("{piece} $A"))
            .and_then(|builder| builder.try_pair(format!("{piece} $A {piece}:1 $B:1")))
            .map_err(|error| anyhow::anyhow!("{error}"))?
            .special_tokens(vec![((*piece).to_owned(), bos as u32)])
            .build()?;
        tokenizer.with_post_processor(Some(template));
    }
    let mut added = Vec::new();
    for (piece, kind) in pieces.iter().zip(types) {
        match *kind {
            CONTROL => {
                added.push(AddedToken::from(*piece, !is_placeholder(piece)).normalized(false))
            }
            USER_DEFINED => added.push(AddedToken::from(*piece, false).normalized(false)),
            _ => {}
        }
    }
    tokenizer.add_tokens(added).map_err(failed)?;
    Ok(tokenizer)
}

/// Every way to put a piece together from two others, best score first; among equals the shorter
/// left part last, as transformers sorts them.
fn merges(pieces: &[&str], scores: &[f32], ids: &HashMap<&str, u32>) -> Vec<(String, String)> {
    let mut found: Vec<(f32, usize, usize, &str, &str)> = Vec::new();
    for (piece, &score) in pieces.iter().zip(scores) {
        let cuts = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.split_at(at));
        let mut local: Vec<_> = cuts
            .filter_map(|(left, right)| Some((ids.get(left)?, ids.get(right)?, left, right)))
            .collect();
        local.sort_unstable();
        found.extend(local.into_iter().map(|(_, _, left, right)| {
            (
                // The best score is written as -0: it equals 0.
                score + 0.0,
                left.chars().count(),
                right.chars().count(),
                left,
                right,
            )
        }));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1, b.2).cmp(&(a.1, a.2))));
    found
        .into_iter()
        .map(|(_, _, _, left, right)| (left.to_owned(), right.to_owned()))
        .collect()
}

/// GGUF counts these among the control pieces; decoded text shows them all the same.
fn is_placeholder(piece: &str) -> bool {
    piece == "<mask>" || piece.starts_with("<unused")
}

fn failed(error: tokenizers::Error) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
