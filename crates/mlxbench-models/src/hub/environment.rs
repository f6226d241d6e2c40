//! The hub's settings, from the variables that Hugging Face's own tools read.

use std::path::PathBuf;

use etcetera::{BaseStrategy, choose_base_strategy};

use super::Hub;
use crate::{Error, Result};

impl Hub {
    /// The hub that the environment names:
    ///
    /// | variable | its meaning | when unset |
    /// |---|---|---|
    /// | `HF_ENDPOINT` | the hub's address | `https://huggingface.co` |
    /// | `HF_HOME` | where Hugging Face's tools keep things | `~/.cache/huggingface` |
    /// | `HF_HUB_CACHE` | the cache | `$HF_HOME/hub` |
    /// | `HF_TOKEN` | the token | the file of the next line |
    /// | `HF_TOKEN_PATH` | the token's file, which `hf auth login` writes | `$HF_HOME/token` |
    /// | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: use the cache alone | use the network |
    ///
    /// # Errors
    /// When `HF_HOME` is unset and the user has no home.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let home = match variable("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => choose_base_strategy()
                .map_err(|error| {
                    Error::Hub(format!(
                        "no folder for the hub's cache ({error}): set HF_HOME"
                    ))
                })?
                .cache_dir()
                .join("huggingface"),
        };
        let path = |name, default| variable(name).map_or_else(|| home.join(default), PathBuf::from);
        let token = variable("HF_TOKEN")
            .or_else(|| std::fs::read_to_string(path("HF_TOKEN_PATH", "token")).ok());
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default();

        let mut hub = Self::new(path("HF_HUB_CACHE", "hub"))
            .token(&token.unwrap_or_default())
            .offline(["1", "true", "yes", "on"].contains(&offline.to_lowercase().as_str()));
        if let Some(endpoint) = variable("HF_ENDPOINT") {
            hub = hub.endpoint(&endpoint);
        }
        Ok(hub)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Hub::from_variables(|name| Some(value(name)?.1.to_owned())).unwrap()
    }

    #[test]
    fn the_home_holds_the_cache_and_the_token() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_abc\n").unwrap();
        let hub = hub(&[("HF_HOME", home.path().to_str().unwrap())]);
        assert_eq!(hub.cache, home.path().join("hub"));
        assert_eq!(hub.token.as_deref(), Some("hf_abc"));
        assert_eq!(hub.endpoint, "https://huggingface.co");
        assert!(!hub.offline);
    }

    #[test]
    fn each_variable_has_its_say() {
        let hub = hub(&[
            ("HF_HOME", "/home"),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_TOKEN", "hf_xyz"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_HUB_OFFLINE", "1"),
        ]);
        assert_eq!(hub.cache, Path::new("/cache"));
        assert_eq!(hub.token.as_deref(), Some("hf_xyz"));
        assert_eq!(hub.endpoint, "http://mirror");
        assert!(hub.offline);
    }

    #[test]
    fn a_token_file_may_lie_elsewhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hf_abc").unwrap();
        let path = file.path().to_str().unwrap();
        let hub = hub(&[("HF_HOME", "/home"), ("HF_TOKEN_PATH", path)]);
        assert_eq!(hub.token.as_deref(), Some("hf_abc"));
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        let hub = hub(&[
            ("HF_HOME", "/home"),
            ("HF_TOKEN", ""),
            ("HF_HUB_OFFLINE", "0"),
        ]);
        assert_eq!(hub.token, None);
        assert!(!hub.offline);
    }
}
