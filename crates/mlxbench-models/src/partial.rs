//! Folders in the making. One that a killed process left behind is removed by the next that works beside
//! it: it may be as large as a model.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = ".mlxbench-partial-";
/// Is locked for as long as somebody fills the folder.
const LOCK: &str = ".lock";

/// A folder that is being filled. Dropped before [`keep_as`](Self::keep_as), it is removed.
#[derive(Debug)]
pub(crate) struct PartialFolder {
    folder: TempDir,
    _lock: File,
}

impl PartialFolder {
    /// An empty folder in `parent`, which may hold a file called `.lock`.
    ///
    /// # Errors
    /// When it can't be made.
    pub(crate) fn new_in(parent: &Path) -> io::Result<Self> {
        remove_stale(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::create(folder.path().join(LOCK))?;
        // Where a file system has no locks, stale folders stay.
        let _ = lock.try_lock();
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its name, which nobody or an empty folder may have.
    ///
    /// # Errors
    /// When it can't be renamed; it is removed then.
    pub(crate) fn keep_as(self, name: &Path) -> io::Result<()> {
        fs::remove_file(self.path().join(LOCK))?;
        fs::rename(self.path(), name)?;
        // It has its name now: there is nothing to remove.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Removes the folders in `parent` that nobody fills any more.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // One without a lock is being made, or comes from a file system without.
        let lock = ours.then(|| File::open(entry.path().join(LOCK)));
        if let Some(Ok(lock)) = lock
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(parent: &Path) -> usize {
        fs::read_dir(parent).unwrap().count()
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_filled_stays() {
        let parent = tempfile::tempdir().unwrap();
        let stale = parent.path().join(format!("{PREFIX}stale"));
        fs::create_dir(&stale).unwrap();
        fs::write(stale.join(LOCK), "").unwrap();
        fs::write(stale.join("model.safetensors"), "half").unwrap();
        let first = PartialFolder::new_in(parent.path()).unwrap();
        assert!(!stale.exists());
        let second = PartialFolder::new_in(parent.path()).unwrap();
        assert_eq!(folders(parent.path()), 2);
        drop(second);
        fs::write(first.path().join("config.json"), "{}").unwrap();
        let name = parent.path().join("model");
        first.keep_as(&name).unwrap();
        assert_eq!(folders(parent.path()), 1);
        assert_eq!(folders(&name), 1, "the lock is gone");
    }
}
