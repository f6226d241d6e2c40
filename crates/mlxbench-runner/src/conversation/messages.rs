//! A conversation's file: JSON lines, a message each.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A message, as chat templates take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    role: Role,
    content: String,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    User,
    Assistant,
}

impl Message {
    /// A user's.
    pub(super) fn question(content: &str) -> Self {
        Self {
            role: Role::User,
            content: content.to_owned(),
        }
    }

    /// Whether the model answers it.
    pub(super) fn is_question(&self) -> bool {
        self.role == Role::User
    }
}

/// The messages of `file`: a system's first or none, then the user's and the assistant's in turn.
///
/// # Errors
/// When the file can't be read, a line is no message, there is no question, or roles don't alternate.
pub(super) fn read(file: &Path) -> Result<Vec<Message>> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::io(file, error))?;
    parse(&text).map_err(|message| Error::Config {
        path: file.to_owned(),
        message,
    })
}

fn parse(text: &str) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    // Some editors begin UTF-8 with a byte-order mark.
    let lines = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    for (at, line) in lines {
        let wrong = |what: &str| Err(format!("line {}: {what}", at + 1));
        let message: Message = match serde_json::from_str(line) {
            Ok(message) => message,
            Err(error) => {
                return wrong(&format!(
                    "{error}: write one message a line, such as {{\"role\": \"user\", \"content\": \"Hello\"}}"
                ));
            }
        };
        if message.content.trim().is_empty() {
            return wrong("the message has no text");
        }
        let before = messages.last().map(|message| message.role);
        match (before, message.role) {
            (None, Role::System | Role::User)
            | (Some(Role::System | Role::Assistant), Role::User)
            | (Some(Role::User), Role::Assistant) => messages.push(message),
            _ => {
                return wrong(
                    "roles don't alternate: write `system` first or not at all, then `user` and `assistant` in turn",
                );
            }
        }
    }
    match messages.iter().any(Message::is_question) {
        true => Ok(messages),
        false => Err("the conversation has no message of the user: write at least one".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(role: &str) -> String {
        format!("{{\"role\": \"{role}\", \"content\": \"x\"}}\n")
    }

    #[test]
    fn a_system_message_and_turns_are_read() {
        let text = [
            line("system"),
            line("user"),
            line("assistant"),
            line("user"),
        ]
        .concat();
        let messages = parse(&text).unwrap();
        let questions = messages.iter().filter(|message| message.is_question());
        assert_eq!((messages.len(), questions.count()), (4, 2));
        assert_eq!(parse(&line("user")).unwrap().len(), 1);
        assert_eq!(parse(&format!("\u{feff}{text}")).unwrap(), messages);
    }

    #[test]
    fn what_is_no_conversation_is_refused_with_its_line() {
        for (text, said) in [
            (String::new(), "no message of the user"),
            (line("system"), "no message of the user"),
            (line("assistant"), "line 1: roles don't alternate"),
            (
                line("user") + &line("user"),
                "line 2: roles don't alternate",
            ),
            (
                line("user") + &line("system"),
                "line 2: roles don't alternate",
            ),
            (line("user") + "\n{}", "line 3: missing field"),
            (line("tool"), "unknown variant `tool`"),
            (
                "{\"role\": \"user\", \"content\": \" \"}".into(),
                "has no text",
            ),
        ] {
            let message = parse(&text).unwrap_err();
            assert!(message.contains(said), "{message}");
        }
    }
}
