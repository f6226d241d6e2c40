//! Room on disks.

use std::path::Path;

/// Bytes that this user may still write where `path` is, or would be: its next folder that exists is asked.
/// `None` where the system doesn't say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let there = absolute.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let room = free_bytes(&folder.path().join("not/yet")).unwrap();
        assert!(room > 0);
    }
}
