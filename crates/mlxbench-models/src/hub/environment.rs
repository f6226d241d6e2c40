//! The hub's settings, from the variables that Hugging Face's own client reads, as it reads them: see
//! `constants.py` and `utils/_auth.py` of huggingface_hub.

use std::env::VarError;
use std::path::PathBuf;

use super::Hub;
use crate::{Error, Result};

impl Hub {
    /// The hub that the environment names:
    ///
    /// | variable | its meaning | when unset |
    /// |---|---|---|
    /// | `HF_ENDPOINT` | the hub's address | `https://huggingface.co` |
    /// | `XDG_CACHE_HOME` | where all programs cache things | `~/.cache` |
    /// | `HF_HOME` | where Hugging Face's tools keep things | `$XDG_CACHE_HOME/huggingface` |
    /// | `HF_HUB_CACHE` | the cache | `HUGGINGFACE_HUB_CACHE`, its older name; else `$HF_HOME/hub` |
    /// | `HF_TOKEN` | the token | `HUGGING_FACE_HUB_TOKEN`, its older name; else the next line's file |
    /// | `HF_TOKEN_PATH` | the token's file, which `hf auth login` writes | `$HF_HOME/token` |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | show the hub no token | show it |
    /// | `HF_HUB_OFFLINE` | use the cache alone | `TRANSFORMERS_OFFLINE`, its older name; else use the network |
    ///
    /// `1`, `true`, `yes` and `on` switch on. In paths `~` at the beginning, `$NAME` and `${NAME}` stand for
    /// what they do in a shell: a container's or a service's settings come from none. An empty variable
    /// is an unset one. `TRANSFORMERS_CACHE` and its predecessors were transformers' own; the client never
    /// read them, and transformers 5 reads them no more.
    ///
    /// # Errors
    /// When the user has no home and `HF_HOME` is unset, or a variable isn't UTF-8 or names another
    /// user's home.
    pub fn from_env() -> Result<Self> {
        let read = |name: &str| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(Error::Hub(format!("{name} isn't UTF-8"))),
        };
        // The home of a user without HOME is in the system's list of users.
        let home = std::env::home_dir().and_then(|home| Some(home.to_str()?.to_owned()));
        Environment { read, home }.hub()
    }
}

/// Variables, by what reads one, and the user's home.
struct Environment<F> {
    read: F,
    home: Option<String>,
}

impl<F: Fn(&str) -> Result<Option<String>>> Environment<F> {
    fn hub(&self) -> Result<Hub> {
        let home = match self.path(&["HF_HOME"])? {
            Some(home) => home,
            None => self.cache_home()?.join("huggingface"),
        };
        let cache = self.path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])?;
        let mut hub = Hub::new(cache.unwrap_or_else(|| home.join("hub")))
            .token(&self.token(home)?)
            .offline(self.is_on(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])?);
        if let Some((_, endpoint)) = self.first(&["HF_ENDPOINT"])? {
            hub = hub.endpoint(&endpoint);
        }
        Ok(hub)
    }

    /// The token, empty where there is none.
    fn token(&self, home: PathBuf) -> Result<String> {
        if self.is_on(&["HF_HUB_DISABLE_IMPLICIT_TOKEN"])? {
            return Ok(String::new());
        }
        let token = self.first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])?;
        let file = self.path(&["HF_TOKEN_PATH"])?;
        let file = file.unwrap_or_else(|| home.join("token"));
        let read = || std::fs::read_to_string(file).unwrap_or_default();
        Ok(token.map_or_else(read, |(_, token)| token))
    }

    fn cache_home(&self) -> Result<PathBuf> {
        if let Some(folder) = self.path(&["XDG_CACHE_HOME"])? {
            return Ok(folder);
        }
        let home = self.home.as_ref().ok_or_else(|| {
            Error::Hub("no folder for the hub's cache (you have no home): set HF_HOME".into())
        })?;
        Ok(PathBuf::from(home).join(".cache"))
    }

    /// The first of `names` that is set, and its value.
    fn first<'a>(&self, names: &[&'a str]) -> Result<Option<(&'a str, String)>> {
        for &name in names {
            if let Some(value) = (self.read)(name)?.filter(|value| !value.trim().is_empty()) {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    fn is_on(&self, names: &[&str]) -> Result<bool> {
        let value = self.first(names)?.map(|(_, value)| value.to_lowercase());
        Ok(value.is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.as_str())))
    }

    /// The path that the first of `names` holds that is set.
    fn path(&self, names: &[&str]) -> Result<Option<PathBuf>> {
        let Some((name, value)) = self.first(names)? else {
            return Ok(None);
        };
        let value = match value.strip_prefix('~') {
            None => value,
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.home.as_ref().ok_or_else(|| {
                    Error::Hub(format!(
                        "{name}={value}: you have no home: write the folder in full"
                    ))
                })?;
                format!("{}{rest}", home.trim_end_matches('/'))
            }
            Some(_) => {
                return Err(Error::Hub(format!(
                    "{name}={value}: another user's home isn't looked up: write the folder in full"
                )));
            }
        };
        self.expanded(&value).map(|path| Some(path.into()))
    }

    /// `text` with the values of variables in place of `$NAME` and `${NAME}`; those that aren't set
    /// stay as they are, as in Python's `expandvars`.
    fn expanded(&self, text: &str) -> Result<String> {
        let (mut expanded, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(start) = rest.find('$') {
            expanded.push_str(&rest[..start]);
            rest = &rest[start..];
            let (name, length) = variable(rest);
            let value = match name {
                "" => None,
                name => (self.read)(name)?,
            };
            expanded.push_str(value.as_deref().unwrap_or(&rest[..length]));
            rest = &rest[length..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// The name of the variable at the beginning of `$...`, empty where there is none, and how much of the
/// text stands for it.
fn variable(text: &str) -> (&str, usize) {
    let after = &text[1..];
    if let Some(inside) = after.strip_prefix('{') {
        return match inside.find('}') {
            Some(end) => (&inside[..end], end + 3),
            None => ("", 1),
        };
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
    (&after[..end], end + 1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn try_hub(variables: &[(&str, &str)], home: Option<&str>) -> Result<Hub> {
        let read = |name: &str| -> Result<Option<String>> {
            let value = variables.iter().find(|(known, _)| *known == name);
            Ok(value.map(|(_, value)| (*value).to_owned()))
        };
        let home = home.map(str::to_owned);
        Environment { read, home }.hub()
    }

    fn hub(variables: &[(&str, &str)]) -> Hub {
        try_hub(variables, Some("/users/me")).unwrap()
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
    fn homes_and_variables_in_paths_are_expanded() {
        for (name, value, cache) in [
            ("HF_HOME", "~/hf", "/users/me/hf/hub"),
            ("HF_HOME", "~", "/users/me/hub"),
            ("HF_HOME", "$SCRATCH/hf", "/scratch/hf/hub"),
            ("HF_HUB_CACHE", "${SCRATCH}/$WHO-hub", "/scratch/a$b-hub"),
            (
                "HF_HUB_CACHE",
                "/x/$UNSET/${UNSET}/$/${",
                "/x/$UNSET/${UNSET}/$/${",
            ),
            ("HF_HUB_CACHE", "/x/~/$SCRATCHY", "/x/~/$SCRATCHY"),
            (
                "XDG_CACHE_HOME",
                "~/.caches",
                "/users/me/.caches/huggingface/hub",
            ),
        ] {
            // What a value holds isn't looked at again.
            let hub = hub(&[
                (name, value),
                ("SCRATCH", "/scratch"),
                ("WHO", "a$b"),
                ("b", "wrong"),
            ]);
            assert_eq!(hub.cache, Path::new(cache), "{name}={value}");
        }
        assert_eq!(
            hub(&[]).cache,
            Path::new("/users/me/.cache/huggingface/hub")
        );
    }

    #[test]
    fn older_names_count_where_the_newer_are_unset() {
        let older = [
            ("HUGGINGFACE_HUB_CACHE", "$SCRATCH/old"),
            ("HUGGING_FACE_HUB_TOKEN", "hf_old"),
            ("TRANSFORMERS_OFFLINE", "ON"),
            ("SCRATCH", "/scratch"),
        ];
        let old = hub(&older);
        assert_eq!(old.cache, Path::new("/scratch/old"));
        assert_eq!(old.token.as_deref(), Some("hf_old"));
        assert!(old.offline);
        let newer = [
            ("HF_HUB_CACHE", "/new"),
            ("HF_TOKEN", "hf_new"),
            ("HF_HUB_OFFLINE", "0"),
        ];
        let new = hub(&[newer.as_slice(), &older].concat());
        assert_eq!(new.cache, Path::new("/new"));
        assert_eq!(new.token.as_deref(), Some("hf_new"));
        assert!(!new.offline);
    }

    #[test]
    fn a_token_file_may_lie_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine"), "hf_abc").unwrap();
        let folder = folder.path().to_str().unwrap();
        let path = [
            ("HF_HOME", "/home"),
            ("HF_TOKEN_PATH", "$DIR/mine"),
            ("DIR", folder),
        ];
        assert_eq!(hub(&path).token.as_deref(), Some("hf_abc"));
        let private = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes");
        assert_eq!(hub(&[path.as_slice(), &[private]].concat()).token, None);
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

    #[test]
    fn what_cannot_be_expanded_says_which_variable_to_mend() {
        let refusal = |variables: &[(&str, &str)], home| match try_hub(variables, home) {
            Ok(hub) => panic!("{}", hub.cache.display()),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            refusal(&[("HF_HUB_CACHE", "~alice/hub")], Some("/users/me")),
            "HF_HUB_CACHE=~alice/hub: another user's home isn't looked up: write the folder in full"
        );
        assert!(
            refusal(&[("HF_HOME", "~/hf")], None).starts_with("HF_HOME=~/hf: you have no home")
        );
        assert!(refusal(&[], None).contains("set HF_HOME"));
    }
}
