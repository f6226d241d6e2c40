//! The Hugging Face hub: a model's snapshot in the local cache, fetched where it isn't there yet.
//!
//! The cache is the one of transformers, mlx-lm and `hf download`: what one has fetched, the others
//! find. Only the files that a benchmark needs are fetched.

mod choice;
mod download;
mod environment;
mod peek;
mod refusal;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::Siblings;
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use mlxbench_core::checkpoint::{
    ADAPTER_CONFIG, INDEX_FILE, files_aside, read_config, read_text, weight_sets,
};
use mlxbench_core::text::tell;

use crate::{Error, Result};
use choice::choose;
use download::Download;
use peek::Peek;
use refusal::Refusal;

const ENDPOINT: &str = "https://huggingface.co";
const CONFIG_FILE: &str = "config.json";
/// Files that a snapshot holds where the repository has them.
const OPTIONAL_FILES: [&str; 4] = [
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];
/// How long the hub may take to accept a connection, and to describe a repository.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(30);

/// The snapshot folder of `repo` (`owner/name`) at `revision` (`main` when absent), by the
/// settings of the environment: see [`Hub::from_env`] and [`Hub::fetch`].
///
/// # Errors
/// As [`Hub::from_env`] and [`Hub::fetch`].
pub fn fetch(repo: &str, revision: Option<&str>) -> Result<PathBuf> {
    Hub::from_env()?.fetch(repo, revision)
}

/// The snapshot folder of `repo` at `revision` if the cache holds it whole. Nothing is fetched.
///
/// # Errors
/// As [`Hub::from_env`], and when a name can't be one.
pub fn cached(repo: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
    let revision = revision.unwrap_or("main");
    check_name(repo, revision)?;
    Ok(Hub::from_env()?.cached(repo, revision))
}

/// A hub, the cache before it and the token to show it.
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
}

/// The part of the hub's description of a repository that matters here.
#[derive(serde::Deserialize)]
struct Description {
    /// The commit that the revision names.
    sha: String,
    siblings: Vec<Siblings>,
}

impl Hub {
    /// huggingface.co without a token, cached in the folder `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: ENDPOINT.into(),
            cache: cache.into(),
            token: None,
            offline: false,
        }
    }

    /// Another address, `http://` or `https://`, that speaks the hub's protocol.
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        self.endpoint = endpoint.trim_end_matches('/').to_owned();
        self
    }

    /// The token to show the hub.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.trim().to_owned()).filter(|token| !token.is_empty());
        self
    }

    /// Whether to use the cache alone.
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// The folder of the snapshot of `repo` (`owner/name`) at `revision` (a branch, tag or commit;
    /// `main` when absent), with its `config.json`, its safetensors and, where the repository has
    /// them, its tokenizer and `generation_config.json`.
    ///
    /// What the cache holds already isn't fetched again, and a download that broke off goes on
    /// where it ended. A snapshot in the cache serves when the hub can't be reached.
    ///
    /// # Errors
    /// When the repository is gated, missing, no Gemma or without safetensors, when the hub can't
    /// be reached or doesn't accept the token. The message says how to go on without the hub.
    pub fn fetch(&self, repo: &str, revision: Option<&str>) -> Result<PathBuf> {
        let revision = revision.unwrap_or("main");
        check_name(repo, revision)?;
        self.find(repo, revision)
            .map_err(|refusal| Error::Hub(refusal.explain(repo, revision)))
    }

    fn find(&self, repo: &str, revision: &str) -> Result<PathBuf, Refusal> {
        let cached = || self.cached(repo, revision);
        if self.offline {
            return cached().ok_or_else(|| Refusal::Offline(self.cache.clone()));
        }
        match self.describe(repo, revision) {
            Ok(description) => self.complete(repo, revision, &description),
            Err(refusal @ Refusal::Unreachable { .. }) => cached().ok_or(refusal),
            Err(refusal) => Err(refusal),
        }
    }

    /// Asks the hub for the commit and the files of a revision.
    fn describe(&self, repo: &str, revision: &str) -> Result<Description, Refusal> {
        if self.token.as_deref().is_some_and(|t| !is_printable(t)) {
            return Err(Refusal::BadToken(
                "it has characters that no token has".into(),
            ));
        }
        let answer = self
            .api()?
            .repo(model(repo, revision))
            .info_request()
            .config()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(DESCRIBE_TIMEOUT))
            .build()
            .call();
        let mut answer = answer.map_err(|error| self.unreachable(error))?;
        let status = answer.status().as_u16();
        if status >= 400 {
            let header = |name| answer.headers().get(name)?.to_str().ok();
            let code = header("x-error-code").unwrap_or_default();
            let message = header("x-error-message").unwrap_or_default();
            return Err(
                match Refusal::from_answer(status, code, message, self.token.is_some()) {
                    Some(refusal) => refusal,
                    None => {
                        self.unreachable(format!("it answers with HTTP status {status} {message}"))
                    }
                },
            );
        }
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|error| self.unreachable(error))?;
        serde_json::from_str(&text)
            .map_err(|_| self.unreachable("what answers there is not a model hub"))
    }

    fn unreachable(&self, why: impl ToString) -> Refusal {
        Refusal::Unreachable {
            endpoint: self.endpoint.clone(),
            why: why.to_string().trim().to_owned(),
        }
    }

    /// Fetches what the snapshot lacks: the small files first, so that one with weights is whole, and
    /// before them the configuration, which may be that of a model that can't be run.
    fn complete(
        &self,
        repo: &str,
        revision: &str,
        description: &Description,
    ) -> Result<PathBuf, Refusal> {
        let files = description
            .siblings
            .iter()
            .map(|file| file.rfilename.as_str());
        let files: BTreeSet<&str> = files.collect();
        if !files.contains(CONFIG_FILE) {
            let files = files.into_iter().map(str::to_owned).collect();
            return Err(Refusal::NoSafetensors(files));
        }

        // By its commit, so that a branch that moves meanwhile can't mix two commits' files.
        let commit = &description.sha;
        let api = self.api()?;
        let cache = self.cache_of(repo, commit);
        let snapshot = cache.pointer_path(commit);
        let download = Download {
            remote: api.repo(model(repo, commit)),
            api,
            cache,
            snapshot: snapshot.clone(),
            bars: has_bars(),
        };
        let bring = |file: &str| {
            download
                .bring(file)
                .map_err(|error| Refusal::from_download(error, file))
        };
        // The configuration first: nothing else is fetched of what can't be run.
        bring(CONFIG_FILE)?;
        let telling = files_aside().chain([ADAPTER_CONFIG]);
        for file in telling.filter(|file| files.contains(file)) {
            bring(file)?;
        }
        read_config(&snapshot).map_err(|error| Refusal::NotGemma(error.to_string()))?;
        let peek = Peek {
            remote: &download.remote,
            token: self.token.as_deref(),
            snapshot: snapshot.clone(),
        };
        let choice = choose(&files, &peek)?;
        if let Some(warning) = choice.warning {
            tell(format_args!("warning: {repo}: {warning}"));
        }
        let index = Some(INDEX_FILE).filter(|_| choice.with_index);
        for file in index
            .into_iter()
            .chain(OPTIONAL_FILES)
            .filter(|file| files.contains(file))
        {
            bring(file)?;
        }
        for file in &choice.weights.files {
            bring(file)?;
        }
        // Last: the name that a later run without the hub looks under leads to a whole snapshot.
        self.cache_of(repo, revision)
            .create_ref(commit)
            .map_err(|error| Refusal::Broken(format!("refs/{revision}"), error.to_string()))?;
        Ok(snapshot)
    }

    /// The snapshot in the cache that `revision` named when it was fetched, if it is whole.
    fn cached(&self, repo: &str, revision: &str) -> Option<PathBuf> {
        let cache = self.cache_of(repo, revision);
        let folder = match cache.get(CONFIG_FILE) {
            Some(config) => config.parent()?.to_owned(),
            // Nothing names a commit that was asked for by its hash.
            None => cache.pointer_path(revision),
        };
        let here = |file: &str| folder.join(file).is_file();
        let weights = weight_sets(index_text(&folder).as_deref(), here);
        (here(CONFIG_FILE) && weights.is_ok()).then_some(folder)
    }

    fn api(&self) -> Result<Api, Refusal> {
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_progress(has_bars())
            .with_user_agent("mlxbench", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| self.unreachable(error))
    }

    fn cache_of(&self, repo: &str, revision: &str) -> CacheRepo {
        Cache::new(self.cache.clone()).repo(model(repo, revision))
    }
}

/// Progress is shown as a bar on a terminal, as a line a file elsewhere.
fn has_bars() -> bool {
    std::io::stderr().is_terminal()
}

fn model(repo: &str, revision: &str) -> Repo {
    Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned())
}

/// The index of a snapshot, where it has one.
fn index_text(snapshot: &Path) -> Option<String> {
    read_text(&snapshot.join(INDEX_FILE)).ok()
}

/// Both become parts of addresses and of paths in the cache.
fn check_name(repo: &str, revision: &str) -> Result<()> {
    let is_part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        part.chars().all(plain) && !part.is_empty() && !part.starts_with('.')
    };
    if repo.split('/').count() != 2 || !repo.split('/').all(is_part) {
        return Err(Error::Invalid(format!(
            "`{repo}` is no repository of the hub: write hf:owner/name"
        )));
    }
    if !revision.split('/').all(is_part) {
        return Err(Error::Invalid(format!(
            "`{revision}` is no revision: write a branch, a tag or a commit of {repo} after the @"
        )));
    }
    Ok(())
}

fn is_printable(token: &str) -> bool {
    token.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_cache_are_refused() {
        check_name("google/gemma-3-1b-pt", "refs/pr/1").unwrap();
        check_name("gemma", "main").unwrap_err();
        check_name("google/..", "main").unwrap_err();
        check_name("google/gemma-2b", "../main").unwrap_err();
        check_name("google/gemma-2b", "/main").unwrap_err();
    }
}
