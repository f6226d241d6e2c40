//! A server's endpoint: where it is, how it is asked, and what came of asking it once.

use std::io::Read;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use mlxbench_core::protocol::{AskLogprobs, Logprobs};
use serde_json::{Map, Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::fault::Fault;
use crate::logprobs;

/// Bytes of an answer that is no stream which are read at most.
const SHORT: u64 = 1 << 16;
/// Bytes of an answer in one piece at most.
const WHOLE: u64 = 1 << 24;

/// A worker that measures an OpenAI-compatible server from its client's side. It speaks the worker protocol on stdin
/// and stdout; `mlxbench run` starts it for a `[backend.NAME]` that has a `url`.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// Where the API is: http://127.0.0.1:8080/v1
    #[arg(long)]
    pub url: String,
    /// The model's name, as the server has it.
    #[arg(long)]
    pub model: String,
    /// What the server is called in tables.
    #[arg(long, default_value = "server")]
    pub name: String,
    /// Which of the API's ways of generating is asked.
    #[arg(long, value_enum, default_value_t = Kind::Chat)]
    pub endpoint: Kind,
    /// The environment variable that holds the API's key.
    #[arg(long)]
    pub api_key_env: Option<String>,
    /// A JSON object whose keys are sent with each request, such as {"ignore_eos": true}.
    #[arg(long)]
    pub extra: Option<String>,
}

/// Which of the API's ways of generating is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `/chat/completions`: the prompt is a user's message in the model's chat template.
    Chat,
    /// `/completions`: the prompt is the text itself.
    Completions,
}

/// A server that can be asked.
#[derive(Debug, Clone)]
pub struct Endpoint {
    base: String,
    model: String,
    kind: Kind,
    key: Option<String>,
    extra: Map<String, Value>,
    /// Whether the server is asked to count tokens in the stream.
    pub with_usage: bool,
}

impl Endpoint {
    /// The endpoint that `arguments` name.
    ///
    /// # Errors
    /// When the URL isn't one, the key isn't set, or `extra` is no JSON object.
    pub fn new(arguments: &Arguments) -> Result<Self, String> {
        let base = arguments.url.trim_end_matches('/');
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            return Err(format!(
                "url = {base:?} is no address of a server: write it as http://127.0.0.1:8080/v1"
            ));
        }
        let key = match &arguments.api_key_env {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                format!(
                    "api_key_env = {name:?}: the environment has no such variable: export {name}=KEY"
                )
            })?),
        };
        let extra = match arguments.extra.as_deref().map(serde_json::from_str) {
            None => Map::new(),
            Some(Ok(Value::Object(extra))) => extra,
            Some(_) => return Err("extra is no JSON object, such as {\"ignore_eos\": true}".into()),
        };
        Ok(Self {
            base: base.into(),
            model: arguments.model.clone(),
            kind: arguments.endpoint,
            key,
            extra,
            with_usage: true,
        })
    }

    /// How it generates.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it generates.
    pub fn address(&self) -> String {
        let path = match self.kind {
            Kind::Chat => "chat/completions",
            Kind::Completions => "completions",
        };
        format!("{}/{path}", self.base)
    }

    /// A client of its own, with a connection for each request: whether an answer leaves one open depends on how the
    /// server ends it, and making one is in the time to first token. Redirects aren't followed: a key would go to another host, and
    /// the detour into the times. No proxy stands between.
    pub fn agent() -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .build();
        config.into()
    }

    /// Asks for `new_tokens` tokens after `prompt`, in a stream, greedily.
    ///
    /// # Errors
    /// When the server can't be reached or answers with another status than 200.
    pub fn generate(
        &self,
        agent: &Agent,
        prompt: &str,
        new_tokens: usize,
        within: Duration,
    ) -> Result<Response<Body>, Fault> {
        let url = self.address();
        let answer = self.post(agent, &self.body(prompt, new_tokens), within)?;
        accepted(&url, &self.model, answer)
    }

    /// What the server says of the likelihood of its answer to `asked`; `None` where it says nothing.
    ///
    /// # Errors
    /// When the server can't be reached, refuses every form of asking, or its answer is none of the API's.
    pub fn logprobs(&self, asked: &AskLogprobs) -> Result<Option<Logprobs>, Fault> {
        let (url, agent) = (self.address(), Self::agent());
        let end = Instant::now() + Duration::from_nanos(asked.within_ns.0);
        let mut refused = None;
        for keys in logprobs::keys(self.kind, asked.likeliest) {
            let mut body = self.body(&asked.prompt, asked.new_tokens);
            // Whatever `extra` says.
            body["stream"] = false.into();
            body["temperature"] = 0.into();
            if let Some(body) = body.as_object_mut() {
                body.remove("stream_options");
                body.extend(keys);
            }
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.post(&agent, &body, left)?;
            if answer.status() != 200 {
                let fault = Fault::of_status(&url, &self.model, answer);
                match fault.status {
                    Some(400 | 422) => refused = Some(fault),
                    _ => return Err(fault),
                }
                continue;
            }
            let mut bytes = Vec::new();
            let mut reader = answer.into_body().into_reader().take(WHOLE);
            let read = reader.read_to_end(&mut bytes);
            read.map_err(|error| Fault::cut(&url, &error))?;
            let value = serde_json::from_slice(&bytes);
            let value: Value = value.map_err(|_| Fault::nonsense(&url, &bytes))?;
            match logprobs::read(&value) {
                None => refused = None,
                Some(mut told) => {
                    told.positions.truncate(asked.new_tokens);
                    for position in &mut told.positions {
                        position.likeliest.truncate(asked.likeliest);
                    }
                    return Ok(Some(told));
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn post(&self, agent: &Agent, body: &Value, within: Duration) -> Result<Response<Body>, Fault> {
        let url = self.address();
        let mut request = agent
            .post(&url)
            .header("content-type", "application/json")
            .header("accept", "text/event-stream, application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.config().timeout_global(Some(within)).build();
        let answer = request.send(body.to_string());
        answer.map_err(|error| Fault::unreachable(&url, &error))
    }

    fn body(&self, prompt: &str, new_tokens: usize) -> Value {
        let mut body = json!({
            "model": self.model,
            "max_tokens": new_tokens,
            "temperature": 0,
            "stream": true,
        });
        match self.kind {
            Kind::Chat => body["messages"] = json!([{"role": "user", "content": prompt}]),
            Kind::Completions => body["prompt"] = prompt.into(),
        }
        if self.with_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        for (key, value) in &self.extra {
            body[key] = value.clone();
        }
        body
    }

    /// What the server is, by its own word: its software, where it says, and a version.
    ///
    /// # Errors
    /// When it can't be reached, or wants another key.
    pub fn introduce(&self, within: Duration) -> Result<(Option<String>, String), Fault> {
        let agent = Self::agent();
        let end = Instant::now() + within;
        let get = |url: &str| {
            let mut request = agent.get(url);
            if let Some(key) = &self.key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let left = end.saturating_duration_since(Instant::now());
            request.config().timeout_global(Some(left)).build().call()
        };
        let models = format!("{}/models", self.base);
        let answer = get(&models).map_err(|error| match error {
            ureq::Error::Timeout(_) => Fault::silent(&models, within),
            error => Fault::unreachable(&models, &error),
        })?;
        if matches!(answer.status().as_u16(), 401 | 403) {
            return Err(Fault::of_status(&models, &self.model, answer));
        }
        let header = answer.headers().get("server");
        let software = header
            .and_then(|name| name.to_str().ok())
            .map(str::to_owned);
        let root = self.base.strip_suffix("/v1").unwrap_or(&self.base);
        // vLLM's way, then Ollama's.
        let version = ["version", "api/version"].into_iter().find_map(|path| {
            let answer = get(&format!("{root}/{path}")).ok()?;
            let answer = Some(answer).filter(|answer| answer.status() == 200)?;
            let value: Value = serde_json::from_slice(&short(answer)).ok()?;
            Some(value.get("version")?.as_str()?.to_owned())
        });
        Ok((software, version.unwrap_or_else(|| "unstated".into())))
    }
}

/// The beginning of a body.
pub(crate) fn short(answer: Response<Body>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = answer.into_body().into_reader().take(SHORT);
    // What was read before it failed is quoted all the same.
    let _ = reader.read_to_end(&mut bytes);
    bytes
}

/// An answer that is a stream of events.
fn accepted(url: &str, model: &str, answer: Response<Body>) -> Result<Response<Body>, Fault> {
    if answer.status() != 200 {
        return Err(Fault::of_status(url, model, answer));
    }
    let kind = answer.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/html" => Err(Fault::html(url)),
        "application/json" => Err(Fault::no_stream(url, &short(answer))),
        _ => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(kind: &str, extra: &str) -> Endpoint {
        let words = [
            "x",
            "--url",
            "http://h/v1/",
            "--model",
            "m",
            "--endpoint",
            kind,
        ];
        let words = words.into_iter().chain(["--extra", extra]);
        Endpoint::new(&Arguments::parse_from(words)).unwrap()
    }

    #[test]
    fn the_prompt_is_a_message_or_the_text_itself() {
        let chat = endpoint("chat", "{}");
        assert_eq!(chat.address(), "http://h/v1/chat/completions");
        let body = chat.body("hello", 7);
        assert_eq!(body["messages"][0]["content"], "hello");
        assert_eq!(
            (&body["max_tokens"], &body["stream"]),
            (&json!(7), &json!(true))
        );
        assert_eq!(body["stream_options"]["include_usage"], true);

        let plain = endpoint("completions", r#"{"ignore_eos": true, "temperature": 1}"#);
        assert_eq!(plain.address(), "http://h/v1/completions");
        let body = plain.body("hello", 7);
        assert_eq!(body["prompt"], "hello");
        assert!(body.get("messages").is_none());
        assert_eq!(
            (&body["ignore_eos"], &body["temperature"]),
            (&json!(true), &json!(1))
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_what_to_write() {
        let new = |more: &[&str]| {
            let words = ["x", "--model", "m"].iter().chain(more);
            Endpoint::new(&Arguments::parse_from(words)).unwrap_err()
        };
        assert!(new(&["--url", "localhost:1/v1"]).contains("http://127.0.0.1:8080/v1"));
        let key = ["--url", "http://h", "--api-key-env", "MLXBENCH_NO_SUCH_KEY"];
        assert!(new(&key).contains("export MLXBENCH_NO_SUCH_KEY=KEY"));
        assert!(new(&["--url", "http://h", "--extra", "[1]"]).contains("no JSON object"));
    }
}
