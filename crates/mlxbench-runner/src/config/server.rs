//! Targets that are servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BackendConfig, Config, ModelConfig, TestKind};

/// What the source of a model begins with that a server has.
pub(crate) const SERVER: &str = "server:";

/// The worker that asks servers.
const WORKER: &str = "mlxbench-worker-openai";

/// Which of an API's ways of generating is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// `/chat/completions`: the prompt is a user's message in the model's chat template.
    Chat,
    /// `/completions`: the prompt is the text itself.
    Completions,
}

impl ModelConfig {
    /// The model's name on a server, where a server has it.
    pub(crate) fn on_server(&self) -> Option<&str> {
        self.source.strip_prefix(SERVER)
    }
}

impl BackendConfig {
    /// Program and arguments of the worker of this backend, called `backend`, where `model` is measured.
    pub(crate) fn words(&self, backend: &str, model: &ModelConfig) -> Vec<String> {
        let Some(url) = &self.url else {
            return self.command.clone();
        };
        let name = self
            .model
            .as_deref()
            .or(model.on_server())
            .unwrap_or_default();
        let mut words: Vec<String> = [WORKER, "--url", url, "--model", name]
            .map(Into::into)
            .into();
        let mut add = |flag: &str, value: String| words.extend([flag.into(), value]);
        add("--name", backend.to_owned());
        if self.endpoint == Some(EndpointKind::Completions) {
            add("--endpoint", "completions".into());
        }
        if let Some(variable) = &self.api_key_env {
            add("--api-key-env", variable.clone());
        }
        if !self.extra.is_empty() {
            let extra = self.extra.clone().into_iter();
            add(
                "--extra",
                serde_json::Value::Object(extra.collect()).to_string(),
            );
        }
        words
    }
}

impl Config {
    /// Refuses what doesn't go together with servers, and servers without what they need.
    pub(super) fn check_servers(&self) -> Result<(), String> {
        for (name, backend) in &self.backends {
            check_backend(name, backend)?;
        }
        let on_server = |model: &ModelConfig| model.on_server().is_some();
        let models = self.models.values();
        let serves = |kind: TestKind| kind == TestKind::Serve;
        let is_server = |name: &String| {
            let backend = self.backends.get(name);
            backend.is_some_and(|backend| backend.url.is_some())
        };
        let any = models.iter().any(on_server)
            || self.tests.iter().any(|test| serves(test.kind))
            || self.targets.iter().any(|target| is_server(&target.backend));
        if let Some(model) = self
            .models
            .values()
            .iter()
            .find(|model| model.weights.is_some() && !on_server(model))
        {
            return Err(format!(
                "[model] has weights beside source = {:?}: `weights` says what a server has, whose source is \
                 \"server:NAME\"",
                model.source
            ));
        }
        if !any {
            return Ok(());
        }
        if let Some(model) = models.iter().find(|model| !on_server(model)) {
            return Err(format!(
                "a config measures servers or frameworks, not both, and this one's [model] has source = {:?}: for \
                 servers write source = \"server:NAME\" with the name that the server has for its model",
                model.source
            ));
        }
        if models.iter().any(|model| model.on_server() == Some("")) {
            return Err("source = \"server:\" lacks the model's name: write server:NAME".into());
        }
        let reference = self
            .equivalence
            .reference
            .split('/')
            .next()
            .unwrap_or_default();
        if models.iter().any(|model| model.weights.is_some()) && is_server(&reference.to_owned()) {
            return Err(format!(
                "[equivalence] reference = {:?} is a server: servers are compared with a worker, such as \
                 \"candle/cpu/f32\"",
                self.equivalence.reference
            ));
        }
        let twice = |model: &&ModelConfig| {
            model
                .weights
                .as_ref()
                .is_some_and(|weights| weights.starts_with(SERVER))
        };
        if let Some(model) = models.iter().find(twice) {
            return Err(format!(
                "weights = {:?} in [model] is on a server, too: give a folder, hf:OWNER/NAME or gguf:FILE of what the \
                 server has",
                model.weights.as_deref().unwrap_or_default()
            ));
        }
        if !self.tests.iter().all(|test| serves(test.kind)) {
            return Err(
                "the model is on a server, which is measured by requests: write kind = \"serve\" in each [[test]]"
                    .into(),
            );
        }
        match self
            .targets
            .iter()
            .find(|target| !is_server(&target.backend))
        {
            Some(target) => Err(format!(
                "the [[target]] with backend = {:?} is no server: write [backend.{}] with url = \
                 \"http://127.0.0.1:8080/v1\"",
                target.backend, target.backend
            )),
            None => Ok(()),
        }
    }
}

fn check_backend(name: &str, backend: &BackendConfig) -> Result<(), String> {
    let of_server = [
        ("model", backend.model.is_some()),
        ("endpoint", backend.endpoint.is_some()),
        ("api_key_env", backend.api_key_env.is_some()),
        ("extra", !backend.extra.is_empty()),
    ];
    match (&backend.url, backend.command.is_empty()) {
        (None, true) => Err(format!(
            "[backend.{name}] has an empty command: write command or url"
        )),
        (Some(_), false) => Err(format!(
            "[backend.{name}] takes `command`, of a worker, or `url`, of a server, not both"
        )),
        (Some(url), true) if !(url.starts_with("http://") || url.starts_with("https://")) => {
            Err(format!(
                "[backend.{name}] url = {url:?} is no address of a server: write it as http://127.0.0.1:8080/v1"
            ))
        }
        (None, false) => match of_server.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(format!(
                "[backend.{name}] {key} belongs to a `url`, and there is none"
            )),
            None => Ok(()),
        },
        (Some(_), true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: &str = "name = \"x\"\n[model]\nsource = \"server:gemma3:270m\"\n[[test]]\nkind = \"serve\"\n\
        prompt_tokens = 8\ngenerate_tokens = 4\nconcurrency = [1, 4]\nttft_slo_ms = 200.5\n[[target]]\n\
        backend = \"ollama\"\ndtypes = [\"bf16\"]\n[backend.ollama]\nurl = \"http://127.0.0.1:11434/v1\"\n";

    #[test]
    fn a_server_is_asked_for_the_model_of_the_config() {
        let config = Config::parse(&format!("{SERVED}extra = {{ ignore_eos = true }}\n")).unwrap();
        let words = config.backends["ollama"].words("ollama", config.models.first());
        assert_eq!(
            words.join(" "),
            "mlxbench-worker-openai --url http://127.0.0.1:11434/v1 --model gemma3:270m --name ollama --extra {\"ignore_eos\":true}"
        );
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
        let tests = config.tests[0].expand(config.measure.mode);
        let names: Vec<String> = tests.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["serve pp8+tg4 c1", "serve pp8+tg4 c4"]);
        let sizes: Vec<usize> = tests
            .iter()
            .map(|t| t.as_serve().unwrap().requests)
            .collect();
        assert_eq!(sizes, [8, 16]);
    }

    #[test]
    fn what_does_not_go_with_servers_is_refused_with_what_to_write() {
        for (from, to, says) in [
            (
                "source = \"server:gemma3:270m\"",
                "source = \"x\"",
                "server:NAME",
            ),
            ("kind = \"serve\"\n", "", "`concurrency` is a key"),
            (
                "url = \"http://127.0.0.1:11434/v1\"",
                "url = \"127.0.0.1\"",
                "http://127.0.0.1:8080/v1",
            ),
            ("url =", "command = [\"a\"]\nurl =", "not both"),
            (
                "url = \"http://127.0.0.1:11434/v1\"",
                "command = [\"a\"]\nmodel = \"m\"",
                "belongs to a `url`",
            ),
            (
                "backend = \"ollama\"",
                "backend = \"candle\"",
                "is no server",
            ),
            ("ttft_slo_ms = 200.5", "ttft_slo_ms = 0.0", "ttft_slo_ms"),
            ("generate_tokens = 4", "rank = 4", "`rank` is a key"),
            ("generate_tokens = 4\n", "", "generate_tokens"),
        ] {
            let text = SERVED.replace(from, to);
            assert_ne!(text, SERVED);
            let message = Config::parse(&text).unwrap_err();
            assert!(message.contains(says), "{says}: {message}");
        }
    }
}
