//! The configs that mlxbench comes with, by name: `quick` for `bench-configs/quick.toml`.

use std::path::{Component, Path, PathBuf};

/// Where the configs are, from the folder of the program: a release's or a wheel's `bin`, a checkout's
/// `target/release`.
const FOLDERS: [&str; 2] = ["../bench-configs", "../../bench-configs"];

/// The file of a config that is given as `path`: the bundled one where `path` is a bare name, as `quick` is, and
/// no file of that name is there; else `path` itself.
///
/// # Errors
/// When a bare name is neither; the message has the names that are bundled.
pub fn config_file(path: &Path) -> Result<PathBuf, String> {
    if !is_bare(path) || path.is_file() {
        return Ok(path.to_owned());
    }
    named(path, &folders()).ok_or_else(|| {
        let names = names(&folders());
        let bundled = match names.is_empty() {
            true => String::new(),
            false => format!(", and none of the bundled configs: {}", names.join(", ")),
        };
        format!("there is no config file `{}`{bundled}", path.display())
    })
}

/// Is `path` a bare name, which may stand for a bundled config?
fn is_bare(path: &Path) -> bool {
    let mut components = path.components();
    matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    ) && path.extension().is_none()
}

fn folders() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    beside
        .map(|beside| FOLDERS.map(|folder| beside.join(folder)).to_vec())
        .unwrap_or_default()
}

fn named(name: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let files = folders
        .iter()
        .map(|folder| folder.join(name).with_extension("toml"));
    let file = files.into_iter().find(|file| file.is_file())?;
    // Messages read better without the detour by `bin`.
    Some(file.canonicalize().unwrap_or(file))
}

/// In order.
fn names(folders: &[PathBuf]) -> Vec<String> {
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok());
    let files = files.flatten().flatten().map(|entry| entry.path());
    let configs = files.filter(|file| file.extension().is_some_and(|ending| ending == "toml"));
    let names = configs.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_bundled_config() {
        let folder = tempfile::tempdir().unwrap();
        let configs = [folder.path().to_owned()];
        let file = folder.path().join("quick.toml");
        std::fs::write(&file, "").unwrap();

        assert_eq!(
            named(Path::new("quick"), &configs),
            Some(file.canonicalize().unwrap())
        );
        assert_eq!(named(Path::new("slow"), &configs), None);
        assert_eq!(names(&configs), ["quick"]);
    }

    #[test]
    fn paths_and_names_with_an_ending_are_files() {
        for file in [
            "quick.toml",
            "./quick/toml",
            "configs/quick",
            "/quick",
            "..",
        ] {
            let file = Path::new(file);
            assert_eq!(config_file(file), Ok(file.to_owned()));
        }
        let message = config_file(Path::new("no-such-config")).unwrap_err();
        assert!(message.contains("no-such-config"), "{message}");
    }
}
