//! Conversations as token ids: the prompt of each turn, made once, so that every worker gets the same.

mod messages;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlxbench_core::results::{ChatTest, Label, Test};
use mlxbench_core::{Error as CoreError, GemmaConfig, TokenBatch, TokenId};
use tokenizers::Tokenizer;

use crate::config::Config;
use crate::config::label;
use crate::prompt::{PromptSource, encode_plain, read_tokenizer};
use crate::{Error, Result};

use messages::Message;
use template::Template;

/// The prompt of each turn.
pub(crate) type Prompts = Vec<Vec<TokenId>>;

/// The conversations of a config's tests, those from files by the tokenizer and the chat template in `folder`: the
/// tests with the sizes that are known now, and each one's prompts.
///
/// # Errors
/// When a file can't be read or holds no conversation, two files have the same name, or the folder has no tokenizer
/// or template that takes it.
pub(crate) fn conversations(
    config: &Config,
    tests: Vec<Test>,
    base: &Path,
    folder: &Path,
    source: &PromptSource,
    gemma: &GemmaConfig,
) -> Result<(Vec<Test>, BTreeMap<Test, Prompts>)> {
    let files = files(config)?;
    let mut read = BTreeMap::new();
    for (name, file) in &files {
        read.insert(*name, from_file(&base.join(file), folder, gemma)?);
    }
    let mut all = BTreeMap::new();
    let with_sizes = |test: Test| {
        let Some(chat) = test.as_chat() else {
            return test;
        };
        let (sizes, prompts) = match chat.conversation.and_then(|name| read.get(&name)) {
            Some(prompts) => (
                ChatTest {
                    turns: prompts.len(),
                    prompt_tokens: prompts.last().map_or(0, Vec::len),
                    ..*chat
                },
                prompts.clone(),
            ),
            None => (*chat, made(chat, source, gemma)),
        };
        all.insert(sizes.into(), prompts);
        sizes.into()
    };
    let tests = tests.into_iter().map(with_sizes).collect();
    Ok((tests, all))
}

/// The files of a config's conversations, each once.
fn files(config: &Config) -> Result<BTreeMap<Label, PathBuf>> {
    let mut files: BTreeMap<Label, PathBuf> = BTreeMap::new();
    let named = config
        .tests
        .iter()
        .filter_map(|test| test.conversation.as_ref());
    for file in named.flat_map(|files| files.values()) {
        let name = label(file).map_err(invalid)?;
        if let Some(other) = files.insert(name, file.clone())
            && other != *file
        {
            return Err(invalid(format!(
                "the conversations {} and {} would both be called {name}: rename one of the files",
                other.display(),
                file.display()
            )));
        }
    }
    Ok(files)
}

/// Prompts of the sizes of `test`.
fn made(test: &ChatTest, source: &PromptSource, gemma: &GemmaConfig) -> Prompts {
    let whole = source.different_rows(1, test.prompt_tokens, gemma);
    let turn = test.user_tokens + test.reply_tokens;
    let ends = (0..test.turns).map(|at| test.system_tokens + test.user_tokens + at * turn);
    ends.map(|end| whole.ids()[..end].to_vec()).collect()
}

/// The prompts of a file's conversation: all messages up to each question, by the template, and begun by one begin
/// token.
fn from_file(file: &Path, folder: &Path, gemma: &GemmaConfig) -> Result<Prompts> {
    let messages = messages::read(file)?;
    let template = Template::read(folder)?;
    let tokenizer = read_tokenizer(folder)?;
    check_begin_token(&template, &tokenizer, gemma)?;
    let questions = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| message.is_question());
    questions
        .map(|(at, _)| {
            ids(
                &messages[..=at],
                file,
                &template,
                (&tokenizer, folder, gemma),
            )
        })
        .collect()
}

/// The prompt of a conversation of one question, by the tokenizer and the chat template in `folder`.
///
/// # Errors
/// When the folder has no template that takes it.
pub(crate) fn question(
    content: &str,
    folder: &Path,
    tokenizer: &Tokenizer,
    gemma: &GemmaConfig,
) -> Result<Vec<TokenId>> {
    let template = Template::read(folder)?;
    check_begin_token(&template, tokenizer, gemma)?;
    let asked = [Message::question(content)];
    let what = Path::new("a single question");
    ids(&asked, what, &template, (tokenizer, folder, gemma))
}

/// Refuses a template whose begin token is another one than the model's.
fn check_begin_token(
    template: &Template,
    tokenizer: &Tokenizer,
    gemma: &GemmaConfig,
) -> Result<()> {
    let (said, known) = (tokenizer.token_to_id(template.bos()), gemma.bos_token_id);
    if let (Some(said), Some(known)) = (said, known)
        && said != known
    {
        return Err(Error::Core(CoreError::model(
            template.path(),
            format!(
                "bos_token {:?} has the id {said}, and the model's bos_token_id is {known}: prompts would begin twice",
                template.bos()
            ),
        )));
    }
    Ok(())
}

/// The prompt that `messages`, those of `file`, make.
fn ids(
    messages: &[Message],
    file: &Path,
    template: &Template,
    (tokenizer, folder, gemma): (&Tokenizer, &Path, &GemmaConfig),
) -> Result<Vec<TokenId>> {
    let text = template.render(messages, file)?;
    let ids = encode_plain(tokenizer, &text, folder, gemma)?;
    with_one_bos(ids, gemma.bos_token_id).map_err(|what| {
        Error::Core(CoreError::model(
            template.path(),
            format!("a prompt of {} {what}", file.display()),
        ))
    })
}

/// `ids` with the begin token `bos` at the beginning, whether template and tokenizer write it, both or none, and
/// nowhere else.
fn with_one_bos(mut ids: Vec<TokenId>, bos: Option<TokenId>) -> Result<Vec<TokenId>, String> {
    let Some(bos) = bos else {
        return Ok(ids);
    };
    let written = ids.iter().take_while(|&&id| id == bos).count();
    ids.splice(..written, [bos]);
    match ids[1..].iter().position(|&id| id == bos) {
        Some(at) => Err(format!(
            "has the begin token again, as token {}: a chat template writes it once, and messages don't",
            at + 2
        )),
        None => Ok(ids),
    }
}

fn invalid(message: String) -> Error {
    Error::Core(CoreError::Invalid(message))
}

/// The last prompt of a conversation.
pub(crate) fn last(prompts: &Prompts) -> TokenBatch {
    TokenBatch::row(prompts.last().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    #[test]
    fn made_prompts_grow_by_a_reply_and_a_question() {
        let test = ChatTest {
            turns: 3,
            system_tokens: 5,
            user_tokens: 2,
            reply_tokens: 4,
            prompt_tokens: 5 + 3 * 2 + 2 * 4,
            ..ChatTest::UNKNOWN
        };
        let gemma = preset("gemma-3-270m").unwrap().config();
        let prompts = made(&test, &PromptSource::Random { seed: 1 }, &gemma);
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        assert_eq!(lengths, [7, 13, 19]);
        assert!(prompts.windows(2).all(|pair| pair[1].starts_with(&pair[0])));
        assert_eq!(prompts[0][0], 2, "the begin token");
    }

    #[test]
    fn there_is_one_begin_token_however_many_are_written() {
        for ids in [vec![7, 8], vec![2, 7, 8], vec![2, 2, 7, 8]] {
            assert_eq!(with_one_bos(ids, Some(2)).unwrap(), [2, 7, 8]);
        }
        assert_eq!(with_one_bos(vec![7], None).unwrap(), [7]);
        let error = with_one_bos(vec![2, 7, 2], Some(2)).unwrap_err();
        assert!(error.contains("as token 3"), "{error}");
    }
}
