//! Where a backend's worker program is: beside the CLI's own executable, then on PATH.

use std::path::{Path, PathBuf};

pub use mlxbench_models::program::program;

/// What workers' programs begin with.
const PREFIX: &str = "mlxbench-worker-";

/// What the client of servers is called, which only a `url` starts.
const CLIENT: &str = "openai";

/// How alike a name must be to be what was meant.
const ALIKE: f64 = 0.6;

/// Program and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The command of `backend`: the config's where it has one, else `mlxbench-worker-<backend>`.
///
/// # Errors
/// A message that says where was looked and what to do.
pub fn worker_command(backend: &str, configured: Option<&[String]>) -> Result<Command, String> {
    let by_name = [format!("{PREFIX}{backend}")];
    let words = configured.unwrap_or(&by_name);
    let (name, arguments) = words.split_first().ok_or("the command is empty")?;
    let program = program(name).ok_or_else(|| {
        let instead = match (configured, nearest(backend, &workers_beside())) {
            (Some(_), _) => String::new(),
            (None, Some(near)) => format!("; did you mean `{near}`?"),
            (None, None) => "; scripts/mlxbench builds the workers that mlxbench comes with".into(),
        };
        format!("the worker `{name}` is neither beside mlxbench nor on PATH{instead}")
    })?;
    Ok(Command {
        program,
        arguments: arguments.to_vec(),
    })
}

/// The backends whose workers lie beside this program. The client of servers is none: it needs to be told which one.
pub fn workers_beside() -> Vec<String> {
    let program = std::env::current_exe().ok();
    let folder = program.as_deref().and_then(Path::parent);
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    let files = entries.into_iter().flatten().flatten();
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned))
        .filter(|name| !name.contains('.') && name != CLIENT)
        .collect()
}

/// The name that is near enough to have been meant.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    let likeness = |known: &&String| strsim::normalized_damerau_levenshtein(name, known);
    let near = known.iter().filter(|known| likeness(known) >= ALIKE);
    near.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The words of a command that is written as one text: the text as a whole where that is a program, whose
/// path may hold spaces, else as a shell splits it.
///
/// # Errors
/// When a quote doesn't end, or there is no word.
pub fn words(command: &str) -> Result<Vec<String>, String> {
    if program(command).is_some() {
        return Ok(vec![command.to_owned()]);
    }
    match shlex::split(command) {
        Some(words) if words.is_empty() => Err("it is empty".into()),
        Some(words) => Ok(words),
        None => Err("it has a quote that doesn't end".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_program_as_a_whole_or_words() {
        let folder = tempfile::tempdir().unwrap();
        let spaced = folder.path().join("my worker --fast");
        std::fs::write(&spaced, "").unwrap();
        let spaced = spaced.to_str().unwrap();
        assert_eq!(words(spaced).unwrap(), [spaced]);
        let quoted = format!("'{spaced}' -c \"a b\"");
        assert_eq!(words(&quoted).unwrap(), [spaced, "-c", "a b"]);
        assert_eq!(words("sh").unwrap(), ["sh"]);
        assert_eq!(words("env A=1 sh").unwrap(), ["env", "A=1", "sh"]);
        assert!(
            words("'open")
                .unwrap_err()
                .contains("quote that doesn't end")
        );
        assert!(words(" ").unwrap_err().contains("empty"));
    }

    #[test]
    fn a_missing_worker_is_named_with_its_remedy() {
        let message = worker_command("tinygrad", None).unwrap_err();
        assert!(message.contains("`mlxbench-worker-tinygrad`"), "{message}");
        assert!(message.contains("scripts/mlxbench"), "{message}");
    }

    #[test]
    fn a_name_that_is_near_was_meant() {
        let known = ["candle", "mlx", "tch"].map(str::to_owned);
        let meant = |name| nearest(name, &known).map(String::as_str);
        assert_eq!(meant("cnadle"), Some("candle"));
        assert_eq!(meant("mxl"), Some("mlx"));
        assert_eq!(meant("tinygrad"), None);
    }

    #[test]
    fn a_configured_command_keeps_its_arguments() {
        let words = ["sh".to_owned(), "-c".to_owned(), "true".to_owned()];
        assert_eq!(
            worker_command("any", Some(&words)).unwrap().arguments,
            ["-c", "true"]
        );
    }
}
