//! Why the hub gives no model, in words that say how to go on.

use std::path::PathBuf;

use hf_hub::api::sync::ApiError;
use mlxbench_core::checkpoint::{ADAPTER_CONFIG, INDEX_FILE, SINGLE_FILE, is_shard};
use mlxbench_core::gemma::PRESETS;

/// Why there is no snapshot.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The terms of the repository aren't accepted, or the token can't show that they are.
    Gated,
    /// The hub doesn't accept the token, and why.
    BadToken(String),
    NoRepository,
    NoRevision,
    Unreachable {
        endpoint: String,
        why: String,
    },
    /// The cache that has no such snapshot.
    Offline(PathBuf),
    /// The files that the repository has instead.
    NoSafetensors(Vec<String>),
    /// What is wrong with `config.json`.
    NotGemma(String),
    /// What is wrong with the index of the shards.
    BadIndex(String),
    /// Another process holds this lock.
    Busy(PathBuf),
    /// The download of a file broke off, and why.
    Broken(String, String),
}

impl Refusal {
    /// What the hub means by an answer of `status` with its headers `X-Error-Code` and
    /// `X-Error-Message`, if it is about this repository. It answers 401, not 404, when one without
    /// a token asks for what isn't there.
    pub(super) fn from_answer(
        status: u16,
        code: &str,
        message: &str,
        with_token: bool,
    ) -> Option<Self> {
        match (status, code) {
            (_, "GatedRepo") => Some(Self::Gated),
            (_, "RevisionNotFound") => Some(Self::NoRevision),
            (_, "RepoNotFound") => Some(Self::NoRepository),
            (401, _) if with_token => Some(Self::BadToken(message.to_owned())),
            (401 | 403 | 404, _) => Some(Self::NoRepository),
            _ => None,
        }
    }

    /// What a failed download of `file` means. The hub describes gated repositories to everyone,
    /// and refuses their files.
    pub(super) fn from_download(error: ApiError, file: &str) -> Self {
        match error {
            ApiError::RequestError(error) => match *error {
                ureq::Error::StatusCode(401 | 403) => Self::Gated,
                error => Self::Broken(file.to_owned(), error.to_string()),
            },
            ApiError::LockAcquisition(lock) => Self::Busy(lock),
            error => Self::Broken(file.to_owned(), error.to_string()),
        }
    }

    /// The refusal of `repo` at `revision` in words.
    pub(super) fn explain(&self, repo: &str, revision: &str) -> String {
        let page = format!("https://huggingface.co/{repo}");
        let reason = match self {
            Self::Gated => format!(
                "{repo} is gated: accept its terms at {page}, then set HF_TOKEN to a token of that \
                 account that may read gated repositories, or run `hf auth login`"
            ),
            Self::BadToken(why) => {
                let why = match why.as_str() {
                    "" => String::new(),
                    why => format!(" ({why})"),
                };
                format!(
                    "the hub doesn't accept the token{why}: set HF_TOKEN to a valid one or run \
                     `hf auth login`"
                )
            }
            Self::NoRepository => format!(
                "the hub has no repository {repo}, or one that only a token with access to it \
                 sees: check the name at {page}; for a private one set HF_TOKEN or run \
                 `hf auth login`"
            ),
            Self::NoRevision => format!(
                "{repo} has no revision `{revision}`: {page}/tree/main lists its branches and tags"
            ),
            Self::Unreachable { endpoint, why } => format!(
                "the hub at {endpoint} can't be reached or is out of order ({why}), and the cache has \
                 no whole snapshot of {repo}: check the network and HF_ENDPOINT"
            ),
            Self::Offline(cache) => format!(
                "HF_HUB_OFFLINE is set, and {} has no whole snapshot of {repo} at `{revision}`: \
                 unset it to fetch one",
                cache.display()
            ),
            Self::NoSafetensors(files) => without_safetensors(repo, files),
            Self::NotGemma(why) => format!("{repo} is no Gemma that mlxbench can run: {why}"),
            Self::BadIndex(why) => {
                format!("the index of the safetensors of {repo} is wrong: {why}")
            }
            Self::Busy(lock) => format!(
                "another process is fetching this file of {repo} ({} is locked): wait for it, \
                 then run this again",
                lock.display()
            ),
            Self::Broken(file, why) => format!(
                "fetching {file} of {repo} failed ({why}): run this again, and it resumes where \
                 it ended"
            ),
        };
        format!("{reason}; or {}", without_hub(repo))
    }
}

fn without_safetensors(repo: &str, files: &[String]) -> String {
    let with = |ending: &str| files.iter().find(|file| file.ends_with(ending));
    if let Some(file) = with(".gguf") {
        return format!(
            "{repo} has GGUF weights ({file}) and no safetensors with a config.json: name a \
             repository in the Hugging Face layout, or download the file and run `mlxbench model \
             import`"
        );
    }
    if files.iter().any(|file| file == ADAPTER_CONFIG) {
        return format!(
            "{repo} is a LoRA adapter, not a model: merge it into its model first \
             (`merge_and_unload` of peft, `mlx_lm.fuse`) and name the merged model's folder"
        );
    }
    if let Some(file) = with(".safetensors") {
        let advice = match is_shard(files) {
            true => ", which says where the tensors of these shards are",
            false => "",
        };
        return format!(
            "{repo} has weights under other names ({file}): a model in the Hugging Face layout has \
             {SINGLE_FILE} or {INDEX_FILE}{advice}"
        );
    }
    let found = match with(".bin").or_else(|| with(".pth")) {
        Some(file) => format!("PyTorch weights ({file})"),
        None => format!("{} files", files.len()),
    };
    format!(
        "{repo} has {found} and no Gemma weights in safetensors with a config.json: name a \
         repository in the Hugging Face layout"
    )
}

/// How to benchmark the same shapes without the hub.
fn without_hub(repo: &str) -> String {
    // An instruction-tuned model has the shapes of its base.
    let base = |name: &str| {
        let name = name.to_lowercase();
        let base = name.strip_suffix("-it").or(name.strip_suffix("-pt"));
        base.unwrap_or(&name).to_owned()
    };
    match PRESETS.iter().find(|preset| base(preset.hub) == base(repo)) {
        Some(preset) => format!("use synthetic:{} in place of hf:{repo}", preset.name),
        None => format!(
            "use synthetic:PRESET in place of hf:{repo} (`mlxbench model list` names the presets)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preset_of_the_same_shapes_is_named() {
        assert!(without_hub("google/gemma-3-1b-pt").contains("synthetic:gemma-3-1b "));
        assert!(without_hub("google/gemma-3-1b-it").contains("synthetic:gemma-3-1b "));
        assert!(without_hub("google/gemma-1.1-2b-it").contains("synthetic:gemma-1.1-2b "));
        assert!(without_hub("someone/llama").contains("synthetic:PRESET "));
    }

    #[test]
    fn a_401_without_a_token_is_about_the_repository() {
        let answer = |with_token| Refusal::from_answer(401, "", "", with_token).unwrap();
        assert!(matches!(answer(false), Refusal::NoRepository));
        assert!(matches!(answer(true), Refusal::BadToken(_)));
    }

    #[test]
    fn a_locked_file_is_told() {
        let error = ApiError::LockAcquisition("blobs/abc.lock".into());
        let text = Refusal::from_download(error, "model.safetensors").explain("a/b", "main");
        assert!(text.contains("another process is fetching"), "{text}");
    }

    #[test]
    fn a_broken_download_is_told_with_what_to_do() {
        let error = ApiError::IoError(std::io::ErrorKind::ConnectionReset.into());
        let text = Refusal::from_download(error, "model.safetensors").explain("a/b", "main");
        assert!(
            text.contains("fetching model.safetensors of a/b failed"),
            "{text}"
        );
        assert!(text.contains("run this again"), "{text}");
    }
}
