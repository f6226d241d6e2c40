//! A model by its name.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mlxbench_core::Dtype;
use mlxbench_core::checkpoint::read_config;
use mlxbench_core::gemma::{PRESETS, Preset, preset};

use crate::progress::Watch;
use crate::{Error, Result, cache, gguf, hub, synth};

/// Where a model is to be had.
#[derive(Debug)]
pub enum Source {
    /// A folder in the Hugging Face layout.
    Folder(PathBuf),
    /// `hf:owner/name[@revision]`.
    Hub {
        /// `owner/name`.
        repo: String,
        /// A branch, tag or commit; `main` when absent.
        revision: Option<String>,
    },
    /// `gguf:FILE`: a GGUF file.
    Gguf(PathBuf),
    /// `synthetic:PRESET[@seed]`: random weights.
    Synthetic {
        /// The shapes.
        preset: &'static Preset,
        /// The weights' seed.
        seed: u64,
    },
}

impl Source {
    /// The model's folder on this machine, fetched or made where needed. `watch` is told how far one
    /// is that is being made.
    ///
    /// # Errors
    /// When it can't be had; the message says how to go on.
    pub fn resolve(&self, watch: Watch<'_>) -> Result<PathBuf> {
        match self {
            Self::Folder(folder) => {
                read_config(folder)?;
                Ok(folder.clone())
            }
            Self::Hub { repo, revision } => hub::fetch(repo, revision.as_deref()),
            Self::Gguf(file) => gguf::resolve(file),
            Self::Synthetic { preset, seed } => synthetic(preset, *seed, watch),
        }
    }

    /// The source of this name as a command line has it: a folder's needn't be UTF-8.
    ///
    /// # Errors
    /// When it is no source's name.
    pub fn named(name: &OsStr) -> Result<Self> {
        match name.to_str() {
            Some(name) => name.parse(),
            None => Ok(Self::Folder(name.into())),
        }
    }

    /// The model's folder where it is on this machine already. Nothing is fetched or made.
    ///
    /// # Errors
    /// When it isn't; the message says how to get it.
    pub fn local(&self) -> Result<PathBuf> {
        let folder = match self {
            Self::Folder(folder) => Some(folder.clone()),
            Self::Hub { repo, revision } => hub::cached(repo, revision.as_deref())?,
            Self::Gguf(file) => Some(gguf::folder(file)?).filter(|folder| folder.is_dir()),
            Self::Synthetic { preset, seed } => {
                Some(synthetic_folder(preset, *seed)?).filter(|folder| folder.is_dir())
            }
        };
        folder.ok_or_else(|| {
            Error::Invalid(format!(
                "{self} isn't on this machine: run `mlxbench model fetch {self}` first"
            ))
        })
    }
}

/// Where the folder of a preset's random weights in bf16 is or would be.
fn synthetic_folder(preset: &Preset, seed: u64) -> Result<PathBuf> {
    let folder = cache::folder()?.join("synthetic");
    Ok(folder.join(format!("{}-seed{seed}", preset.name)))
}

/// The folder of a preset's random weights in bf16, made when it isn't there.
fn synthetic(preset: &Preset, seed: u64, watch: Watch<'_>) -> Result<PathBuf> {
    let folder = synthetic_folder(preset, seed)?;
    // The folder gets its name when it is whole, so one that is there can be used.
    if folder.is_dir() {
        return Ok(folder);
    }
    match synth::write(&preset.config(), Dtype::Bf16, seed, &folder, watch) {
        // Another process was faster.
        Err(_) if folder.is_dir() => Ok(folder),
        made => made.map(|()| folder),
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if let Some(rest) = name.strip_prefix("synthetic:") {
            let (shapes, seed) = rest.split_once('@').unwrap_or((rest, "0"));
            let preset = preset(shapes).ok_or_else(|| unknown_preset(shapes))?;
            let seed = seed.parse().map_err(|_| {
                Error::Invalid(format!("`{seed}` is no seed: write synthetic:{shapes}@7"))
            })?;
            return Ok(Self::Synthetic { preset, seed });
        }
        if let Some(rest) = name.strip_prefix("hf:") {
            let (repo, revision) = match rest.split_once('@') {
                Some((repo, revision)) => (repo, Some(revision.to_owned())),
                None => (rest, None),
            };
            let parts: Vec<&str> = repo.split('/').collect();
            if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) {
                return Err(Error::Invalid(format!(
                    "`{name}`: write hf:owner/name or hf:owner/name@revision"
                )));
            }
            return Ok(Self::Hub {
                repo: repo.into(),
                revision,
            });
        }
        if let Some(file) = name.strip_prefix("gguf:") {
            return match file.is_empty() {
                true => Err(Error::Invalid(
                    "`gguf:` names no file: write gguf:FILE.gguf".into(),
                )),
                false => Ok(Self::Gguf(file.into())),
            };
        }
        if name.is_empty() {
            return Err(Error::Invalid("the model's name is empty".into()));
        }
        Ok(Self::Folder(name.into()))
    }
}

fn unknown_preset(name: &str) -> Error {
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    let likeness = |known: &&&str| (strsim::jaro_winkler(name, known) * 1e6) as u32;
    let nearest = names
        .iter()
        .max_by_key(likeness)
        .copied()
        .unwrap_or_default();
    Error::Invalid(format!(
        "there is no preset `{name}`: did you mean `{nearest}`? The presets are {}",
        names.join(", ")
    ))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Hub {
                repo,
                revision: None,
            } => write!(f, "hf:{repo}"),
            Self::Hub {
                repo,
                revision: Some(revision),
            } => write!(f, "hf:{repo}@{revision}"),
            Self::Gguf(file) => write!(f, "gguf:{}", file.display()),
            Self::Synthetic { preset, seed } => write!(f, "synthetic:{}@{seed}", preset.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::UNWATCHED;

    fn parsed(name: &str) -> String {
        name.parse::<Source>().unwrap().to_string()
    }

    fn refusal(name: &str) -> String {
        name.parse::<Source>().unwrap_err().to_string()
    }

    #[test]
    fn names_parse_to_their_sources() {
        assert_eq!(parsed("hf:google/gemma-2b@main"), "hf:google/gemma-2b@main");
        assert_eq!(parsed("synthetic:gemma-2b"), "synthetic:gemma-2b@0");
        assert_eq!(parsed("some/folder"), "some/folder");
        assert_eq!(parsed("gguf:some/file.gguf"), "gguf:some/file.gguf");
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        assert!(refusal("synthetic:gema-3-1b").contains("did you mean `gemma-3-1b`?"));
        assert!(refusal("synthetic:gemma-2b@x").contains("synthetic:gemma-2b@7"));
        assert!(refusal("hf:gemma").contains("hf:owner/name"));
        assert!(refusal("gguf:").contains("gguf:FILE.gguf"));
    }

    #[test]
    fn a_folder_whose_name_is_not_utf_8_is_one() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"gemma-\xff");
        let Source::Folder(folder) = Source::named(name).unwrap() else {
            panic!("not a folder");
        };
        assert_eq!(folder.as_os_str(), name);
        let source = Source::named(OsStr::new("hf:a/b")).unwrap();
        assert_eq!(source.to_string(), "hf:a/b");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let source: Source = "no/such/folder".parse().unwrap();
        assert!(
            source
                .resolve(UNWATCHED)
                .unwrap_err()
                .to_string()
                .contains("no such folder")
        );
    }
}
