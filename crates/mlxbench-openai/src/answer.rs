//! A streamed answer as its client sees it.

use std::io::{BufRead, BufReader, Read};

use mlxbench_core::Nanos;
use serde_json::Value;

use crate::events::Events;
use crate::fault::Fault;

/// What `finish_reason` says where the server gave up: what came before is no whole answer.
const GIVEN_UP: [&str; 5] = ["abort", "aborted", "error", "cancelled", "canceled"];

/// What a stream told, up to its end or to what cut it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// When its first byte was there.
    pub first_byte_ns: Option<Nanos>,
    /// When each piece of text was there.
    pub chunk_ns: Vec<Nanos>,
    /// Tokens of the prompt, by the server's count.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated, by the server's count.
    pub completion_tokens: Option<u64>,
    /// Tokens of the prompt that came from a cache.
    pub cached_tokens: Option<u64>,
    /// Why the server stopped.
    pub finish_reason: Option<String>,
    /// When the chunk that says so was there; the first one, where several do.
    pub finish_ns: Option<Nanos>,
}

impl Answer {
    /// Reads `body`, the answer of the server at `url`, to its end; `now` is asked when something is there. What was
    /// read before a fault stays.
    ///
    /// # Errors
    /// When the stream is cut, holds something else than the API's JSON, or no text; when the server gave up, or
    /// doesn't say why it stopped.
    pub fn read(
        &mut self,
        url: &str,
        body: impl Read,
        now: impl Fn() -> Nanos,
    ) -> Result<(), Fault> {
        let mut body = BufReader::new(body);
        let cut = |error| Fault::cut(url, &error);
        if !body.fill_buf().map_err(cut)?.is_empty() {
            self.first_byte_ns = Some(now());
        }
        let mut events = Events::new(body);
        loop {
            let event = events.next().map_err(|error| Fault::cut(url, &error))?;
            match event.as_deref() {
                Some(b"[DONE]") => break,
                // Not every server says that it is done.
                None if self.finish_reason.is_some() => break,
                None => return Err(Fault::unfinished(url)),
                Some(data) => self.take(url, data, &now)?,
            }
        }
        self.whole(url)
    }

    /// Whether the answer, whose stream has ended, is whole.
    fn whole(&self, url: &str) -> Result<(), Fault> {
        match self.finish_reason.as_deref() {
            Some(reason) if gave_up(reason) => Err(Fault::given_up(url, reason)),
            _ if self.chunk_ns.is_empty() => Err(Fault::empty(url)),
            Some(_) => Ok(()),
            None => Err(Fault::unexplained(url)),
        }
    }

    fn take(&mut self, url: &str, data: &[u8], now: &impl Fn() -> Nanos) -> Result<(), Fault> {
        let at = now();
        let nonsense = || Fault::nonsense(url, data);
        let value: Value = serde_json::from_slice(data).map_err(|_| nonsense())?;
        let object = value.as_object().ok_or_else(nonsense)?;
        if let Some(error) = object.get("error").filter(|error| !error.is_null()) {
            return Err(Fault::told(url, error));
        }
        if let Some(usage) = object.get("usage") {
            self.count(usage);
        }
        let choice = object.get("choices").and_then(|choices| choices.get(0));
        let Some(choice) = choice else {
            return Ok(());
        };
        if has_text(choice) {
            self.chunk_ns.push(at);
        }
        let reason = choice.get("finish_reason").and_then(Value::as_str);
        // Some servers send an empty one in place of null.
        if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(reason.to_owned());
            self.finish_ns = self.finish_ns.or(Some(at));
        }
        Ok(())
    }

    /// Takes the server's counts. They come with the last chunk, or with each: the last ones hold.
    fn count(&mut self, usage: &Value) {
        let number = |path: &str| usage.pointer(path).and_then(Value::as_u64);
        self.prompt_tokens = number("/prompt_tokens").or(self.prompt_tokens);
        self.completion_tokens = number("/completion_tokens").or(self.completion_tokens);
        self.cached_tokens = number("/prompt_tokens_details/cached_tokens")
            .or_else(|| number("/cached_tokens"))
            .or(self.cached_tokens);
    }
}

fn gave_up(reason: &str) -> bool {
    GIVEN_UP
        .iter()
        .any(|word| reason.eq_ignore_ascii_case(word))
}

/// Whether a choice holds text, thoughts included.
fn has_text(choice: &Value) -> bool {
    let delta = choice.get("delta");
    let of_delta = ["content", "reasoning_content", "reasoning"].map(|key| delta?.get(key));
    let texts = of_delta.into_iter().chain([choice.get("text")]).flatten();
    let mut texts = texts.filter_map(Value::as_str);
    texts.any(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What comes of a body, by a clock that moves on by 1 when it is asked.
    fn read(body: &[u8]) -> (Answer, Result<(), String>) {
        let (mut answer, time) = (Answer::default(), Cell::new(0));
        let now = || Nanos(time.replace(time.get() + 1));
        let read = answer.read("http://h/v1/x", body, now);
        (answer, read.map_err(|fault| fault.message))
    }

    const WHOLE: &str = r#": keep-alive

data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"choices":[{"delta":{"reasoning":"so"}}]}

data: {"choices":[{"delta":{"reasoning_content":"so"}}]}

data: {"choices":[{"delta":{"content":" many words"}}]}

data: {"choices":[{"delta":{},"finish_reason":"length"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}

data: [DONE]

"#;

    #[test]
    fn text_is_timed_and_tokens_are_counted_by_the_server() {
        let (answer, read) = read(WHOLE.as_bytes());
        assert_eq!(read, Ok(()));
        assert_eq!(answer.first_byte_ns, Some(Nanos(0)));
        assert_eq!(answer.chunk_ns, [2, 3, 4].map(Nanos), "a role is no text");
        assert_eq!(answer.prompt_tokens, Some(9));
        assert_eq!(answer.completion_tokens, Some(4), "of three chunks");
        assert_eq!(answer.cached_tokens, Some(2));
        assert_eq!(answer.finish_reason.as_deref(), Some("length"));
        assert_eq!(answer.finish_ns, Some(Nanos(5)), "after the last text");
    }

    #[test]
    fn usage_may_come_with_the_last_choice_and_done_may_not_come() {
        let body = r#"data: {"choices":[{"text":"a","finish_reason":"stop"}],"usage":{"completion_tokens":1}}"#;
        let (answer, read) = read(body.as_bytes());
        assert_eq!((read, answer.completion_tokens), (Ok(()), Some(1)));
    }

    /// The chunk that says why the server stopped.
    fn ended(reason: &str) -> String {
        format!("data: {{\"choices\":[{{\"text\":\"\",\"finish_reason\":\"{reason}\"}}]}}\n\n")
    }

    #[test]
    fn a_reason_that_is_said_again_keeps_its_first_time() {
        let text = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"\"}]}\n\n";
        let (answer, read) = read(format!("{text}{}{}", ended("stop"), ended("stop")).as_bytes());
        assert_eq!((read, answer.chunk_ns.len()), (Ok(()), 1));
        assert_eq!(answer.finish_ns, Some(Nanos(2)));
    }

    #[test]
    fn what_is_no_answer_is_told_with_the_url() {
        let text = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
        for (body, says) in [
            (text.into(), "the stream was cut"),
            (
                format!("{text}data: {{\"cho\n\n"),
                "where the API's JSON was due",
            ),
            (format!("{text}data: 7\n\n"), "where the API's JSON was due"),
            ("<!DOCTYPE html><p>".into(), "an HTML page"),
            (
                "data: {\"error\":{\"message\":\"out of memory\"}}\n\n".into(),
                "out of memory",
            ),
            ("data: [DONE]\n\n".into(), "holds no text"),
            (format!("{text}data: [DONE]\n\n"), "without finish_reason"),
            (
                format!("{text}{}data: [DONE]\n\n", ended("")),
                "without finish_reason",
            ),
            (format!("{text}{}", ended("")), "the stream was cut"),
            (
                format!("{text}{}data: [DONE]\n\n", ended("abort")),
                "finish_reason = \"abort\"",
            ),
            (
                format!("{}data: [DONE]\n\n", ended("Cancelled")),
                "finish_reason = \"Cancelled\"",
            ),
            (
                format!("{text}{}", ended("error")),
                "finish_reason = \"error\"",
            ),
            (String::new(), "the stream was cut"),
        ] {
            let message = read(body.as_bytes()).1.unwrap_err();
            assert!(message.starts_with("http://h/v1/x: "), "{message}");
            assert!(message.contains(says), "{body}: {message}");
        }
        let message = read(b"data: \xff\xfe{}\n\n").1.unwrap_err();
        assert!(
            message.contains("where the API's JSON was due"),
            "{message}"
        );
    }

    #[test]
    fn what_came_before_the_cut_stays() {
        let (answer, read) = read(b"data: {\"choices\":[{\"text\":\"a\"}]}\n\n");
        assert!(read.is_err());
        assert_eq!(answer.chunk_ns.len(), 1);
    }
}
