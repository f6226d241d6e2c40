//! A file that is written beside its name, and gets it once it is whole.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use super::place::{Place, folder_of, place};

/// What a new file allows before the user's umask takes its part.
const NEW_FILE: u32 = 0o666;

/// A file in the making. Dropped before [`finish`](Self::finish), it leaves what was there as it was.
#[derive(Debug)]
pub(crate) struct Aside {
    target: PathBuf,
    /// `None` where there can be no file beside the target: it is written itself.
    made: Option<TempPath>,
}

impl Aside {
    /// Begins a file that is to replace what `path` leads to, with the same permissions and owner.
    ///
    /// # Errors
    /// When it can't be written: its folder is missing, it is a folder, or it is read-only.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let direct = |target| Self { target, made: None };
        let target = match place(path)? {
            Place::Stream => return Ok(direct(path.to_owned())),
            Place::Folder(_) => return Err(ErrorKind::IsADirectory.into()),
            Place::Absent(target) => target,
            Place::File { path: target, .. } => {
                // A rename asks for the folder's permission alone.
                OpenOptions::new().write(true).open(&target)?;
                target
            }
        };
        let made = tempfile::Builder::new()
            .prefix(".mlxbench-partial-")
            .permissions(Permissions::from_mode(NEW_FILE))
            .tempfile_in(folder_of(&target));
        let made = match made {
            Ok(made) => made,
            // The file may be written, but nothing beside it.
            Err(error) if target.exists() && takes_no_files(&error) => return Ok(direct(target)),
            Err(error) => return Err(error),
        };
        if let Ok(old) = fs::metadata(&target) {
            take_after(&made, &old)?;
        }
        Ok(Self {
            target,
            made: Some(made.into_temp_path()),
        })
    }

    /// Where to write until it is finished.
    pub(crate) fn path(&self) -> &Path {
        self.made.as_deref().unwrap_or(&self.target)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the disk is full, for one.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        match place(&self.target)? {
            // Where a shell led it to a file, that may hold something before.
            Place::Stream => options.append(true),
            _ => options.write(true).truncate(true),
        };
        options.open(self.path())?.write_all(bytes)
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// When it can't be renamed, or isn't on disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Self { target, made } = self;
        let Some(made) = made else {
            return Ok(());
        };
        fs::File::open(&made)?.sync_all()?;
        match fs::rename(&made, &target) {
            // A file that is mounted by itself, as containers have them.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ResourceBusy | ErrorKind::CrossesDevices
                ) =>
            {
                fs::copy(&made, &target)?;
                Ok(())
            }
            renamed => renamed,
        }
    }
}

/// Whether a folder lets nobody make files.
fn takes_no_files(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

/// Gives a file the owner, where this process may, and the permissions of the one that it replaces.
fn take_after(made: &NamedTempFile, old: &fs::Metadata) -> io::Result<()> {
    let new = made.as_file().metadata()?;
    let changed = |new: u32, old: u32| Some(old).filter(|old| *old != new);
    let (user, group) = (changed(new.uid(), old.uid()), changed(new.gid(), old.gid()));
    if user.or(group).is_some() {
        // Others than root may change the group at most, and only to one of theirs.
        let _ =
            fchown(made.as_file(), user, group).or_else(|_| fchown(made.as_file(), None, group));
    }
    made.as_file().set_permissions(old.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outfile::replace;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn permissions_stay_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(mode(&file), 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_has_the_permissions_of_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        replace(&ours, b"").unwrap();
        fs::write(&plain, "").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_reader_of_the_old_file_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        let reader = fs::File::open(&file).unwrap();
        replace(&file, b"new").unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "old");
    }

    #[test]
    fn what_isnt_finished_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        let aside = Aside::new(&file).unwrap();
        aside.write(b"half").unwrap();
        drop(aside);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn streams_are_written_as_they_are() {
        replace(Path::new("/dev/null"), b"gone").unwrap();
        if Path::new("/dev/full").exists() {
            let error = replace(Path::new("/dev/full"), b"more").unwrap_err();
            assert!(format!("{error:#}").starts_with("/dev/full: "), "{error:#}");
        }
        assert!(replace(Path::new("/"), b"").is_err());
    }
}
