//! What went wrong with a request, in words that name the server and say what to do.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use mlxbench_core::text::quotable;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

use crate::endpoint::short;

/// Characters of a server's words that are quoted.
const QUOTED: usize = 300;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// In words.
    pub message: String,
    /// How long the server asks its client to wait.
    pub retry_after: Option<Duration>,
    /// The status, where it was one other than 200.
    pub status: Option<u16>,
}

impl Fault {
    fn new(url: &str, message: impl std::fmt::Display) -> Self {
        Self {
            message: format!("{url}: {message}"),
            retry_after: None,
            status: None,
        }
    }

    /// Nothing came back.
    pub(crate) fn unreachable(url: &str, error: &ureq::Error) -> Self {
        match error {
            ureq::Error::Io(error) => Self::cut(url, error),
            ureq::Error::ConnectionFailed => Self::new(
                url,
                "nothing answers there: start the server, or correct the url",
            ),
            ureq::Error::Timeout(_) => Self::late(url),
            ureq::Error::HostNotFound => Self::new(url, "there is no such host: correct the url"),
            other => Self::new(url, format_args!("the server can't be asked: {other}")),
        }
    }

    /// The connection failed, before or in an answer.
    pub(crate) fn cut(url: &str, error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(ureq::Error::Timeout(_)) = inner {
            return Self::late(url);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::new(
                url,
                "nothing listens there (connection refused): start the server, or correct the url",
            ),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::late(url),
            _ => Self::new(
                url,
                format_args!("the connection was cut ({error}): the server's log may tell why"),
            ),
        }
    }

    /// Time is over.
    fn late(url: &str) -> Self {
        Self::new(
            url,
            "no whole answer came in time: look whether the server still works, ask for fewer tokens or clients, or \
             raise timeout_seconds in [measure]",
        )
    }

    /// The server doesn't say what models it has.
    pub(crate) fn silent(url: &str, within: Duration) -> Self {
        let seconds = within.as_secs();
        Self::new(
            url,
            format_args!(
                "no answer within {seconds} s: look whether the server works, or correct the url"
            ),
        )
    }

    /// Time was over before it was sent.
    pub(crate) fn unsent(url: &str) -> Self {
        Self::new(
            url,
            "not sent: the time for all requests was over; raise timeout_seconds in [measure], or ask for fewer",
        )
    }

    /// The stream ended without an end.
    pub(crate) fn unfinished(url: &str) -> Self {
        Self::new(
            url,
            "the stream was cut: it ended without finish_reason and [DONE]; the server's log may tell why",
        )
    }

    /// The stream ended as one should, but doesn't say why.
    pub(crate) fn unexplained(url: &str) -> Self {
        Self::new(
            url,
            "the stream ended with [DONE] but without finish_reason, so the answer may have been cut short: the \
             server's log may tell why; update a server that never sends one",
        )
    }

    /// The server says that it gave up.
    pub(crate) fn given_up(url: &str, reason: &str) -> Self {
        Self::new(
            url,
            format_args!(
                "the server gave up in its answer (finish_reason = {reason:?}): its log may tell why"
            ),
        )
    }

    /// The stream has something else than the API's JSON.
    pub(crate) fn nonsense(url: &str, text: &[u8]) -> Self {
        if looks_like_html(text) {
            return Self::html(url);
        }
        let text = quoted(text);
        Self::new(
            url,
            format_args!(
                "the server sent {text:?} where the API's JSON was due: is that the url of an OpenAI API?"
            ),
        )
    }

    /// A whole answer without text.
    pub(crate) fn empty(url: &str) -> Self {
        Self::new(
            url,
            "the answer holds no text: look whether the model fits the endpoint (chat needs a chat template)",
        )
    }

    /// The server says in its stream what went wrong.
    pub(crate) fn told(url: &str, error: &Value) -> Self {
        let said = said(error);
        Self::new(url, format_args!("the server failed in its answer: {said}"))
    }

    /// A page for people.
    pub(crate) fn html(url: &str) -> Self {
        Self::new(
            url,
            "the server answered with an HTML page: give the url of its API, which mostly ends in /v1",
        )
    }

    /// The whole answer at once.
    pub(crate) fn no_stream(url: &str, body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) if value.get("error").is_some() => Self::told(url, &value["error"]),
            _ => Self::new(
                url,
                format_args!(
                    "the server answered with JSON in place of a stream, so that its times can't be seen: {:?}",
                    quoted(body)
                ),
            ),
        }
    }

    /// A status other than 200.
    pub(crate) fn of_status(url: &str, model: &str, answer: Response<Body>) -> Self {
        let status = answer.status().as_u16();
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(quoted(value.as_bytes()))
        };
        let retry_after = header("retry-after").and_then(|text| wait(&text, Timestamp::now()));
        let location = header("location");
        let body = short(answer);
        let words = match serde_json::from_slice::<Value>(&body) {
            Ok(value) => {
                let error = ["error", "detail"].iter().find_map(|key| value.get(key));
                said(error.unwrap_or(&value))
            }
            Err(_) if looks_like_html(&body) => "an HTML page".into(),
            Err(_) => quoted(&body),
        };
        let advice = match status {
            300..=399 => format!(
                "it redirects to {}, which isn't followed: write that url",
                location.unwrap_or_default()
            ),
            401 | 403 => {
                "it wants another key: name the variable that holds it as api_key_env".into()
            }
            404 => format!(
                "it knows no model {model:?}, or not this address: correct `model` and `url` (GET .../models lists \
                 what it has)"
            ),
            429 => match retry_after {
                Some(pause) => format!(
                    "it takes no more requests for {} s (Retry-After): lower the concurrency, or raise its limit",
                    (pause.as_secs_f64() * 10.0).round() / 10.0
                ),
                None => {
                    "it takes no more requests: lower the concurrency, or raise its limit".into()
                }
            },
            500.. => "it failed: its log may tell why".into(),
            _ => "it refuses the request".into(),
        };
        Self {
            retry_after,
            status: Some(status),
            ..Self::new(
                url,
                format_args!("status {status}: {advice}; it says: {words}"),
            )
        }
    }
}

/// How long a `Retry-After` asks to wait from `now` on: seconds, of which some servers send fractions, or up to a
/// date (RFC 9110, 10.2.3). `None` for what is neither.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    // A date of HTTP is one of RFC 2822 whose zone is GMT.
    let parser = DateTimeParser::new().relaxed_weekday(true);
    let until = parser.parse_timestamp(text).ok()?;
    // One that has passed asks for nothing.
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

fn looks_like_html(text: &[u8]) -> bool {
    let start = text.trim_ascii_start();
    let start = &start[..start.len().min(9)];
    start.eq_ignore_ascii_case(b"<!doctype") || start.to_ascii_lowercase().starts_with(b"<html")
}

/// What an `error` of the API says.
fn said(error: &Value) -> String {
    let message = error.get("message").unwrap_or(error);
    match message.as_str() {
        Some(text) => quoted(text.as_bytes()),
        None => quoted(message.to_string().as_bytes()),
    }
}

/// A server's words, fit to be shown.
fn quoted(bytes: &[u8]) -> String {
    let text = quotable(String::from_utf8_lossy(bytes).trim());
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        for (text, expected) in [
            ("2", Some(2.0)),
            (" 0.25 ", Some(0.25)),
            ("0", Some(0.0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7.0)),
            ("Sun, 06 Nov 1994 08:49:29 GMT", Some(0.0)),
            ("-1", None),
            ("NaN", None),
            ("1e300", None),
            ("soon", None),
            ("", None),
        ] {
            let waited = wait(text, now).map(|pause| pause.as_secs_f64());
            assert_eq!(waited, expected, "{text:?}");
        }
    }
}
