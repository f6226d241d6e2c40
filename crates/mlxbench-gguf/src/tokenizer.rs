//! `tokenizer.json` from a GGUF file's own vocabulary.
//!
//! GGUF carries SentencePiece's pieces and scores, not the merges of the byte-pair encoding that
//! `tokenizers` runs. They follow from the scores: every way to put a piece together from two
//! others is a merge, best score first. Source: `generate_merges` and `GemmaConverter` in
//! transformers' `convert_slow_tokenizer.py`.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::Replace;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::config::token_id;
use crate::metadata::{Metadata, count, need, number, text};
use crate::value::Value;

/// SentencePiece's stand-in for a space.
const SPACE: &str = "\u{2581}";
/// GGUF's token types (`llama_token_type` in llama.cpp).
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
/// Far more bytes than a piece has: finding its merges takes the square of its length.
const LONGEST_PIECE: usize = 1 << 12;

/// The tokenizer of a file's vocabulary, of which the model's embedding table has the first
/// `vocab_size` pieces (Ollama's files list some more). `None` for a file without a vocabulary.
///
/// # Errors
/// When the vocabulary is another kind than SentencePiece's, contradicts itself, or asks for what
/// Gemma's tokenizer doesn't do.
pub fn from_vocabulary(
    metadata: &Metadata<'_>,
    vocab_size: usize,
) -> anyhow::Result<Option<Tokenizer>> {
    match metadata.text("tokenizer.ggml.model")? {
        Some("llama") => {}
        None | Some("none" | "no_vocab") => return Ok(None),
        Some(other) => bail!(
            "the file's tokenizer is `{}`, not SentencePiece's `llama`: give --tokenizer",
            other.escape_debug()
        ),
    }
    let key = "tokenizer.ggml.add_space_prefix";
    ensure!(
        metadata.flag(key)? != Some(true),
        "metadata `{key}` is true, and Gemma's tokenizer puts no space before a text: give \
         --tokenizer"
    );
    let mut pieces = column(metadata, "tokenizer.ggml.tokens", vocab_size, |piece| {
        let piece = text(piece)?;
        ensure!(piece.len() <= LONGEST_PIECE, "it has {} bytes", piece.len());
        Ok(piece.to_owned())
    })?;
    let mut scores = column(metadata, "tokenizer.ggml.scores", vocab_size, |score| {
        let score = number(score)? as f32;
        ensure!(!score.is_nan(), "it is NaN");
        Ok(score)
    })?;
    let types = column(metadata, "tokenizer.ggml.token_type", vocab_size, count)?;
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
    build(&pieces, &scores, &types, metadata).map(Some)
}

/// The first `most` values of a list of the vocabulary.
fn column<'a, T>(
    metadata: &Metadata<'a>,
    key: &str,
    most: usize,
    value_of: impl Fn(Value<'a>) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let list = need(metadata.list(key)?, key)?;
    let values = list.iter().take(most).enumerate().map(|(id, value)| {
        value_of(value).with_context(|| format!("metadata `{key}`: the value of token {id}"))
    });
    values.collect()
}

fn build(
    pieces: &[&str],
    scores: &[f32],
    types: &[u64],
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
    let piece_of = |name: &str| -> anyhow::Result<Option<(u32, &str)>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = metadata.count(&key)?;
        let id = id.map(|id| token_id(&key, id, pieces.len())).transpose()?;
        Ok(id.map(|id| (id, pieces[id as usize])))
    };
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges(pieces, scores, &ids))
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some((_, unknown)) = piece_of("unknown")? {
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
    let wanted = |name: &str, default| -> anyhow::Result<_> {
        let flag = metadata.flag(&format!("tokenizer.ggml.add_{name}_token"))?;
        let token = piece_of(name)?;
        Ok(token.filter(|_| flag.unwrap_or(default)))
    };
    let (first, last) = (wanted("bos", true)?, wanted("eos", false)?);
    if first.is_some() || last.is_some() {
        tokenizer.with_post_processor(Some(frame(first, last)?));
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

/// Puts tokens around a text.
fn frame(
    first: Option<(u32, &str)>,
    last: Option<(u32, &str)>,
) -> anyhow::Result<TemplateProcessing> {
    let around = |text: &str, sentence: &str| -> Vec<String> {
        let parts = [
            first.map(|(_, piece)| piece),
            Some(text),
            last.map(|(_, piece)| piece),
        ];
        let parts = parts.into_iter().flatten();
        parts.map(|part| format!("{part}{sentence}")).collect()
    };
    let tokens = [first, last].into_iter().flatten();
    let tokens: Vec<_> = tokens.map(|(id, piece)| (piece.to_owned(), id)).collect();
    let template = TemplateProcessing::builder()
        .try_single(around("$A", ""))
        .and_then(|builder| builder.try_pair([around("$A", ""), around("$B", ":1")].concat()))
        .map_err(|error| failed(error.into()))?
        .special_tokens(tokens)
        .build()
        .map_err(|error| failed(error.into()))?;
    Ok(template)
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
    // Some quote a piece of the file's vocabulary.
    anyhow::anyhow!(error.to_string().replace(char::is_control, " "))
}
