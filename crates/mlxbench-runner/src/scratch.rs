//! Folders for a run's temporary files, logits above all. What a killed run left is removed by the next.

use std::io;

use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

const PREFIX: &str = "mlxbench-scratch-";

/// A new folder among the temporary files, removed when it is dropped.
///
/// # Errors
/// When it can't be made.
pub(crate) fn scratch() -> io::Result<TempDir> {
    let parent = std::env::temp_dir();
    for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
        let owner = owner(&entry.file_name().to_string_lossy());
        if owner.is_some_and(|owner| test_kill_process(owner) == Err(rustix::io::Errno::SRCH)) {
            // Another user's can't be removed, and needn't be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    TempDir::with_prefix_in(format!("{PREFIX}{}-", std::process::id()), parent)
}

/// The process that made the folder called `name`, where it is one of these.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Pid::from_raw(pid.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_process() {
        let folder = scratch().unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy();
        let pid = owner(&name).unwrap();
        assert_eq!(pid.as_raw_nonzero().get() as u32, std::process::id());
        assert!(
            scratch().is_ok() && folder.path().exists(),
            "its process lives"
        );
        assert_eq!(owner("mlxbench-scratch-x-1"), None);
        assert_eq!(owner("other"), None);
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        // The process is over once it was waited for.
        let mut process = std::process::Command::new("true").spawn().unwrap();
        process.wait().unwrap();
        let left = std::env::temp_dir().join(format!("{PREFIX}{}-left", process.id()));
        std::fs::create_dir_all(&left).unwrap();
        let _folder = scratch().unwrap();
        assert!(!left.exists());
    }
}
