//! Programs that print what a run needs: the folder of a model, the path of a worker.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::Group;

/// Bytes that a script prints at most.
const MOST_PRINTED: u64 = 1 << 20;

/// Runs `program` with `arguments` and gives the last line that it prints, without blanks around it. Its
/// variable `MLXBENCH` is this program; it reads nothing, and its stderr is the user's.
///
/// # Errors
/// In words, when it can't be run, fails, or prints nothing or rubbish.
pub fn last_line(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let program = program.canonicalize().map_err(|error| error.to_string())?;
    let mut script = Command::new(&program);
    if let Ok(mlxbench) = std::env::current_exe() {
        script.env("MLXBENCH", mlxbench);
    }
    script.args(arguments);
    script.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut script = Group::start(&mut script).map_err(|error| error.to_string())?;
    let stdout = script.leader.stdout.take();
    let mut printed = Vec::new();
    stdout
        .expect("stdout was asked to be piped")
        .take(MOST_PRINTED)
        .read_to_end(&mut printed)
        .map_err(|error| error.to_string())?;
    if printed.len() as u64 == MOST_PRINTED {
        return Err(format!("the script printed {MOST_PRINTED} bytes"));
    }
    let status = script.leader.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the script ended with {status}"));
    }
    let text = String::from_utf8_lossy(&printed);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => Ok(line.trim().to_owned()),
        None => Err("the script printed nothing".into()),
    }
}
