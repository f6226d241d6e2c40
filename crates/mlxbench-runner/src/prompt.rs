//! Token ids for a test: made once, so that every worker gets the same.

use std::path::Path;

use mlxbench_core::results::Test;
use mlxbench_core::{GemmaConfig, TokenBatch, TokenId};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use crate::checks::STEPS;
use crate::{Error, Result};

/// What a test puts into the cache and hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Ids in the cache before the clock starts.
    pub context: Option<TokenBatch>,
    /// Ids handed over: the test's prompt, or one token where it has none.
    pub prompt: TokenBatch,
}

/// Where ids come from.
#[derive(Debug, Clone)]
pub enum PromptSource {
    /// Uniform over the vocabulary, as llama-bench does; each row its own.
    Random {
        /// The seed.
        seed: u64,
    },
    /// A text's ids, without the begin token; each row the same.
    Text(Vec<TokenId>),
}

impl PromptSource {
    /// The ids of `text` by the tokenizer in the model's folder.
    ///
    /// # Errors
    /// When the folder has no usable tokenizer, the text has no token, or an id lies outside the
    /// model's vocabulary.
    pub fn from_text(text: &str, folder: &Path, config: &GemmaConfig) -> Result<Self> {
        let mut ids = encode(&read_tokenizer(folder)?, text, folder, config)?;
        if !ids.is_empty() && ids.first().copied() == config.bos_token_id {
            ids.remove(0);
        }
        if ids.is_empty() {
            return Err(Error::Core(mlxbench_core::Error::Invalid(
                "the prompt's text has no tokens".into(),
            )));
        }
        Ok(Self::Text(ids))
    }

    /// The ids of `test`: `depth` in the cache, then the prompt, beginning with the begin token.
    /// A training's are the rows of all its steps, or of those that are compared where these are more, which differ where the source has more than one id.
    pub fn prompt(&self, test: &Test, config: &GemmaConfig) -> Prompt {
        if let Test::Lora(test) = test {
            return Prompt {
                context: None,
                prompt: self.different_rows(
                    test.batch * test.steps.max(STEPS),
                    test.tokens,
                    config,
                ),
            };
        }
        let length = test.context();
        let all = rows(
            (0..test.rows()).map(|row| self.ids(row, config)),
            length,
            config,
        );
        Prompt {
            context: (test.depth() > 0).then(|| all.columns(0..test.depth())),
            prompt: all.columns(test.depth()..length),
        }
    }

    /// `count` rows of `length` ids that differ where the source has more than one id: those of a
    /// text start at different places in it.
    pub fn different_rows(&self, count: usize, length: usize, config: &GemmaConfig) -> TokenBatch {
        let skipped = |row| match self {
            Self::Text(_) => row,
            Self::Random { .. } => 0,
        };
        let ids = (0..count).map(|row| self.ids(row, config).skip(skipped(row)));
        rows(ids, length, config)
    }

    /// Endless ids for a row.
    fn ids<'a>(
        &'a self,
        row: usize,
        config: &'a GemmaConfig,
    ) -> Box<dyn Iterator<Item = TokenId> + 'a> {
        match self {
            Self::Text(ids) => Box::new(ids.iter().copied().cycle()),
            Self::Random { seed } => {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(row as u64));
                let vocab = config.vocab_size as u64;
                // The bias of the remainder is below 2^-45: of no consequence here.
                Box::new(std::iter::from_fn(move || {
                    Some((random.next_u64() % vocab) as TokenId)
                }))
            }
        }
    }
}

/// Rows of `length` ids, each the begin token and what follows it.
fn rows(
    ids: impl Iterator<Item = impl Iterator<Item = TokenId>>,
    length: usize,
    config: &GemmaConfig,
) -> TokenBatch {
    let bos = config
        .bos_token_id
        .filter(|&id| (id as usize) < config.vocab_size);
    let rows: Vec<Vec<TokenId>> = ids
        .map(|rest| bos.into_iter().chain(rest).take(length).collect())
        .collect();
    TokenBatch::new(&rows).expect("rows are made equally long")
}

/// SHA-256 of all ids, in hexadecimal digits: whether two runs had the same prompts.
pub fn sha256<'a>(prompts: impl IntoIterator<Item = &'a Prompt>) -> String {
    let mut hash = Sha256::new();
    for prompt in prompts {
        for part in prompt.context.iter().chain([&prompt.prompt]) {
            hash.update((part.ids().len() as u64).to_le_bytes());
            for id in part.ids() {
                hash.update(id.to_le_bytes());
            }
        }
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tokenizer of a model's folder, without truncation and padding.
///
/// # Errors
/// When there is none, or it can't be read.
pub fn read_tokenizer(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Err(Error::Core(mlxbench_core::Error::model(
            folder,
            "no tokenizer.json here, which a text prompt needs: add it, or give token ids",
        )));
    }
    let failed = |error: tokenizers::Error| {
        Error::Core(mlxbench_core::Error::model(&path, error.to_string()))
    };
    let mut tokenizer = Tokenizer::from_file(&path).map_err(failed)?;
    // What whoever saved it last cut or filled its texts to: it's none of the model's, and transformers drops it, too.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(failed)?;
    Ok(tokenizer)
}

/// The ids of `text`, the begin token first where the model has one.
///
/// # Errors
/// When the tokenizer fails or an id lies outside the model's vocabulary.
pub fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    folder: &Path,
    config: &GemmaConfig,
) -> Result<Vec<TokenId>> {
    let ids = encode_as(tokenizer, text, true, folder, config)?;
    Ok(match config.bos_token_id {
        Some(bos) if ids.first() != Some(&bos) => [&[bos], ids.as_slice()].concat(),
        _ => ids,
    })
}

/// The ids of `text`, which holds its special tokens as words.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_plain(
    tokenizer: &Tokenizer,
    text: &str,
    folder: &Path,
    config: &GemmaConfig,
) -> Result<Vec<TokenId>> {
    encode_as(tokenizer, text, false, folder, config)
}

fn encode_as(
    tokenizer: &Tokenizer,
    text: &str,
    add_special_tokens: bool,
    folder: &Path,
    config: &GemmaConfig,
) -> Result<Vec<TokenId>> {
    let path = || folder.join("tokenizer.json");
    let encoding = tokenizer
        .encode(text, add_special_tokens)
        .map_err(|error| Error::Core(mlxbench_core::Error::model(path(), error.to_string())))?;
    let ids = encoding.get_ids().to_vec();
    TokenBatch::row(ids.clone())
        .check_vocab(config.vocab_size)
        .map_err(|error| Error::Core(mlxbench_core::Error::model(path(), error.to_string())))?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlxbench_core::gemma::preset;
    use mlxbench_core::generate::Mode;
    use mlxbench_core::results::GenerateTest;

    fn config() -> GemmaConfig {
        preset("gemma-3-270m").unwrap().config()
    }

    fn test(prompt_tokens: usize, depth: usize, batch: usize) -> Test {
        Test::Generate(GenerateTest {
            prompt_tokens,
            generate_tokens: 4,
            depth,
            batch,
            mode: Mode::Pipelined,
        })
    }

    #[test]
    fn other_ids_have_another_digest() {
        let digest = |seed| {
            let source = PromptSource::Random { seed };
            sha256([&source.prompt(&test(5, 2, 1), &config())])
        };
        assert_eq!(digest(7), digest(7));
        assert_ne!(digest(7), digest(8));
        assert_eq!(digest(7).len(), 64);
    }

    #[test]
    fn a_saved_tokenizers_truncation_and_padding_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let saved = r#"{"version": "1.0", "added_tokens": [],
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 5}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": {"a": 10, "b": 11}, "unk_token": "a"}}"#;
        std::fs::write(folder.path().join("tokenizer.json"), saved).unwrap();
        let tokenizer = read_tokenizer(folder.path()).unwrap();
        for (text, ids) in [("b a b a", vec![2, 11, 10, 11, 10]), ("b", vec![2, 11])] {
            assert_eq!(
                encode(&tokenizer, text, folder.path(), &config()).unwrap(),
                ids
            );
        }
    }

    #[test]
    fn ids_begin_with_the_begin_token_and_repeat_by_seed() {
        let source = PromptSource::Random { seed: 7 };
        let prompt = source.prompt(&test(5, 0, 1), &config());
        assert_eq!(prompt, source.prompt(&test(5, 0, 1), &config()));
        assert_eq!((prompt.prompt.ids()[0], prompt.prompt.len()), (2, 5));
        assert_ne!(
            prompt,
            PromptSource::Random { seed: 8 }.prompt(&test(5, 0, 1), &config())
        );
    }

    #[test]
    fn depth_comes_before_the_prompt() {
        let source = PromptSource::Text(vec![10, 11, 12]);
        let prompt = source.prompt(&test(2, 3, 1), &config());
        assert_eq!(prompt.context.unwrap().ids(), [2, 10, 11]);
        assert_eq!(prompt.prompt.ids(), [12, 10]);
    }

    #[test]
    fn decode_alone_starts_from_one_token() {
        let prompt = PromptSource::Random { seed: 0 }.prompt(&test(0, 0, 2), &config());
        assert_eq!(
            (prompt.prompt.batch(), prompt.prompt.ids()),
            (2, [2, 2].as_slice())
        );
    }
}
