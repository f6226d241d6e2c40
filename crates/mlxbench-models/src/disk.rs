//! Room on disks.

use std::path::Path;

use humansize::{BINARY, format_size};

use crate::{Error, Result, cache};

/// Bytes that this user may still write where `path` is, or would be: its next folder that exists is asked.
/// `None` where the system doesn't say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let there = absolute.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    // File systems without a size of their own tell none.
    (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Sees that `bytes` fit where `path` would be, before hours go into writing them.
///
/// # Errors
/// When they don't, with what to do.
pub(crate) fn has_room(path: &Path, bytes: u64) -> Result<()> {
    match free_bytes(path) {
        Some(free) if free < bytes => Err(Error::Invalid(format!(
            "{} takes {}, and its disk has {} free: make room, or name a folder on another disk ({} names the \
             one for models that mlxbench makes)",
            path.display(),
            format_size(bytes, BINARY),
            format_size(free, BINARY),
            cache::VARIABLE
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet");
        assert!(free_bytes(&path).unwrap() > 0);
        has_room(&path, 1).unwrap();
        let message = has_room(&path, u64::MAX).unwrap_err().to_string();
        assert!(message.contains("MLXBENCH_CACHE"), "{message}");
    }
}
