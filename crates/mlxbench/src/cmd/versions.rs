//! `run --versions`: one framework in several versions, each with a worker compiled on it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{anyhow, bail};
use mlxbench_core::text::tell;
use mlxbench_runner::config::Config;
use mlxbench_runner::script::last_line;

/// What compiles a worker, from the root of a checkout.
const SCRIPT: &str = "scripts/native/version";

/// Frameworks whose library is apart from the worker, with the backend of each.
const FRAMEWORKS: [(&str, &str); 2] = [("mlx", "mlx"), ("torch", "tch")];

/// Versions of a framework, as the package index calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versions {
    framework: &'static str,
    backend: &'static str,
    versions: Vec<String>,
}

impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write torch=2.13.0,2.14.0 or mlx=0.32.2";
        let (name, list) = text.split_once('=').ok_or(example)?;
        let known = FRAMEWORKS
            .iter()
            .find(|(framework, backend)| name == *framework || name == *backend);
        let &(framework, backend) =
            known.ok_or_else(|| format!("`{name}` has no versions to choose from: {example}"))?;
        let versions: Vec<String> = list.split(',').map(|one| one.trim().to_owned()).collect();
        // They become names of folders and of backends.
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+".contains(c);
        let is_version =
            |one: &String| one.starts_with(|c: char| c.is_ascii_digit()) && one.chars().all(plain);
        if let Some(wrong) = versions.iter().find(|one| !is_version(one)) {
            return Err(format!("`{wrong}` is no version: {example}"));
        }
        if let Some(twice) = (1..versions.len()).find(|&at| versions[..at].contains(&versions[at]))
        {
            return Err(format!("{} is listed twice", versions[twice]));
        }
        Ok(Self {
            framework,
            backend,
            versions,
        })
    }
}

impl Versions {
    /// `config` with the framework's targets once a version. The workers are compiled where they aren't yet.
    ///
    /// # Errors
    /// When the config has no target of the framework, this program isn't in a checkout, or a version can't be
    /// had or compiled.
    pub(super) fn apply(&self, config: &Config) -> anyhow::Result<Config> {
        let refused = |why| anyhow!("--versions {}: {why}", self.framework);
        let name = |version: &String| format!("{}-{version}", self.framework);
        let names = self.versions.iter().map(|one| (name(one), PathBuf::new()));
        // Before minutes are spent.
        config
            .with_workers(self.backend, &names.collect::<Vec<_>>())
            .map_err(refused)?;
        let script = script()?;
        let mut workers = Vec::new();
        for version in &self.versions {
            tell(format_args!("{} {version}: its worker", self.framework));
            let worker = last_line(&script, &[self.framework, version]);
            let worker = worker.map_err(|why| refused(format!("{version}: {why}")))?;
            workers.push((name(version), PathBuf::from(worker)));
        }
        let mut config = config
            .with_workers(self.backend, &workers)
            .map_err(refused)?;
        // Other targets than the config's: no result of it can be compared with these, nor continued by them.
        config.name.push_str("-versions");
        Ok(config)
    }
}

/// The script of the checkout that this program was built in.
fn script() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let found = program.ancestors().map(|folder| folder.join(SCRIPT));
    match found.into_iter().find(|script: &PathBuf| script.is_file()) {
        Some(script) => Ok(script),
        None => bail!(
            "--versions compiles workers, and {} isn't in a checkout of mlxbench: clone it, and run \
             scripts/mlxbench there",
            program.parent().unwrap_or(Path::new("")).display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_of_a_framework_by_either_name() {
        for name in ["torch", "tch"] {
            let versions: Versions = format!("{name}=2.12.1, 2.13.0").parse().unwrap();
            assert_eq!((versions.framework, versions.backend), ("torch", "tch"));
            assert_eq!(versions.versions, ["2.12.1", "2.13.0"]);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for (text, says) in [
            ("0.31.2", "write torch="),
            ("candle=0.11.1", "`candle` has no versions"),
            ("mlx=../x", "`../x` is no version"),
            ("mlx=0.31.2,", "`` is no version"),
            ("mlx=0.31.2,0.31.2", "listed twice"),
        ] {
            let message = text.parse::<Versions>().unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }
}
