//! The chat template of a model's folder, by minijinja: what makes a prompt of messages.

use std::path::{Path, PathBuf};

use minijinja::{Environment, ErrorKind, context};
use mlxbench_core::Error as CoreError;
use serde_json::Value;

use super::Message;
use crate::{Error, Result};

/// A template and the words of special tokens that it may write.
pub(super) struct Template {
    path: PathBuf,
    source: String,
    bos: String,
    eos: String,
}

impl Template {
    /// The template of `folder`: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`; of several
    /// there the one named `default`.
    ///
    /// # Errors
    /// When there is none, or its file can't be read.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let (own, shared) = (
            folder.join("chat_template.jinja"),
            folder.join("tokenizer_config.json"),
        );
        let config = match shared.is_file() {
            true => json(&shared)?,
            false => Value::Null,
        };
        let word = |key: &str| {
            let token = &config[key];
            let text = token.as_str().or_else(|| token["content"].as_str());
            text.unwrap_or_default().to_owned()
        };
        let (bos, eos) = (word("bos_token"), word("eos_token"));
        let (path, source) = match own.is_file() {
            true => (own.clone(), Some(text(&own)?)),
            false => (shared, of_config(&config["chat_template"])),
        };
        let Some(source) = source else {
            return Err(Error::Core(CoreError::model(
                folder,
                "no chat template here: add chat_template.jinja, or take the folder of a model that was tuned for \
                 chat",
            )));
        };
        Ok(Self {
            path,
            source,
            bos,
            eos,
        })
    }

    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The prompt of `messages`, which `file` holds: up to where the model's answer begins.
    ///
    /// # Errors
    /// When the template is wrong, or refuses the messages.
    pub(super) fn render(&self, messages: &[Message], file: &Path) -> Result<String> {
        let rendered = self.filled_in(messages, true);
        let wrong = |what: String| Error::Core(CoreError::model(&self.path, what));
        let rendered = rendered.map_err(|error| {
            wrong(format!(
                "the chat template doesn't take {}: {error}",
                file.display()
            ))
        })?;
        // It would be the user's turn still, and the model would go on with that.
        if self
            .filled_in(messages, false)
            .is_ok_and(|open| open == rendered)
        {
            return Err(wrong(
                "the chat template doesn't heed add_generation_prompt: no prompt of it ends where an answer begins"
                    .into(),
            ));
        }
        Ok(rendered)
    }

    /// How the tokenizer calls the begin token; empty where it isn't said.
    pub(super) fn bos(&self) -> &str {
        &self.bos
    }

    fn filled_in(&self, messages: &[Message], answers: bool) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        // As transformers has it.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.render_str(
            &self.source,
            context! {
                messages => messages,
                bos_token => self.bos,
                eos_token => self.eos,
                add_generation_prompt => answers,
            },
        )
    }
}

fn of_config(template: &Value) -> Option<String> {
    let of_list = || {
        let mut named = template.as_array()?.iter();
        let default = named.find(|one| one["name"] == "default")?;
        default["template"].as_str()
    };
    template.as_str().or_else(of_list).map(str::to_owned)
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::io(path, error))
}

fn json(path: &Path) -> Result<Value> {
    let parsed = serde_json::from_str(&text(path)?);
    parsed.map_err(|error| Error::Core(CoreError::model(path, error.to_string())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of the form of Gemma 3's.
    const GEMMA: &str = "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}\
        {%- set prefix = messages[0]['content'] + '\n' -%}{%- set rest = messages[1:] -%}\
        {%- else -%}{%- set prefix = '' -%}{%- set rest = messages -%}{%- endif -%}\
        {%- for message in rest -%}\
        {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('must alternate') }}{%- endif -%}\
        {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}\
        {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else '') }}\
        {{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endfor -%}\
        {%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}";

    fn folder(config: &Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("tokenizer_config.json"),
            config.to_string(),
        )
        .unwrap();
        folder
    }

    fn messages(roles: &[&str]) -> Vec<Message> {
        let message = |(at, role): (usize, &&str)| {
            serde_json::from_value(json!({"role": role, "content": format!(" {at} ")})).unwrap()
        };
        roles.iter().enumerate().map(message).collect()
    }

    fn render(template: &Value, roles: &[&str]) -> Result<String> {
        let folder = folder(&json!({"bos_token": {"content": "<bos>"}, "chat_template": template}));
        Template::read(folder.path())?.render(&messages(roles), Path::new("code.jsonl"))
    }

    #[test]
    fn a_prompt_is_the_beginning_of_the_next_one() {
        let one = render(&json!(GEMMA), &["system", "user"]).unwrap();
        assert_eq!(
            one,
            "<bos><start_of_turn>user\n 0 \n1<end_of_turn>\n<start_of_turn>model\n"
        );
        let two = render(&json!(GEMMA), &["system", "user", "assistant", "user"]).unwrap();
        assert!(two.starts_with(&one), "{two}");
    }

    #[test]
    fn of_several_templates_the_default_is_taken() {
        let several = json!([{"name": "tools", "template": "no"}, {"name": "default", "template": "yes{{ add_generation_prompt }}"}]);
        assert_eq!(render(&several, &["user"]).unwrap(), "yesTrue");
    }

    #[test]
    fn the_jinja_file_comes_first() {
        let folder = folder(&json!({"chat_template": "from the config"}));
        std::fs::write(
            folder.path().join("chat_template.jinja"),
            "{{ messages[0].content.strip() }}{{ '>' if add_generation_prompt }}",
        )
        .unwrap();
        let template = Template::read(folder.path()).unwrap();
        assert_eq!(
            template
                .render(&messages(&["user"]), Path::new("x"))
                .unwrap(),
            "0>"
        );
    }

    #[test]
    fn what_a_template_refuses_is_said_with_the_file() {
        let message = |template: &str| render(&json!(template), &["user"]).unwrap_err().to_string();
        let refused = message("{{ raise_exception('System role not supported') }}");
        for part in [
            "tokenizer_config.json",
            "code.jsonl",
            "System role not supported",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(message("{% if %}").contains("doesn't take code.jsonl"));
        let none = render(&Value::Null, &["user"]).unwrap_err().to_string();
        assert!(none.contains("no chat template here"), "{none}");
    }
}
