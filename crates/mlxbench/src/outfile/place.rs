//! Which file a path leads to: one file has many names.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Symbolic links that are followed, as many as Linux does.
const MOST_LINKS: usize = 40;

/// Device and inode: the same for all names of a file, hard links among them.
type Id = (u64, u64);

/// Where a path leads, symbolic links followed.
#[derive(Debug)]
pub(super) enum Place {
    /// A file, by its full path.
    File { path: PathBuf, id: Id },
    /// A folder.
    Folder(Id),
    /// Nothing yet: the full path that a new file gets.
    Absent(PathBuf),
    /// A terminal, a pipe, a device: what is written there is gone on, not kept.
    Stream,
}

impl Place {
    pub(super) fn exists(&self) -> bool {
        !matches!(self, Self::Absent(_))
    }

    /// Whether one of `others` is the same file. Streams may be written to by many.
    pub(super) fn is_in(&self, others: &[Self]) -> bool {
        others.iter().any(|other| match (self, other) {
            (
                Self::File { id, .. } | Self::Folder(id),
                Self::File { id: other, .. } | Self::Folder(other),
            ) => id == other,
            (Self::Absent(path), Self::Absent(other)) => path == other,
            _ => false,
        })
    }
}

/// Follows `path`.
///
/// # Errors
/// When its folder isn't there or can't be read, or links lead in a circle.
pub(super) fn place(path: &Path) -> io::Result<Place> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if is_descriptor(&path) {
            return Ok(Place::Stream);
        }
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Place::Absent(full(&path)?));
            }
            found => found?,
        };
        if found.is_symlink() {
            let target = fs::read_link(&path)?;
            path = folder_of(&path).join(target);
            continue;
        }
        let id = (found.dev(), found.ino());
        return Ok(if found.is_file() {
            let path = full(&path)?;
            Place::File { path, id }
        } else if found.is_dir() {
            Place::Folder(id)
        } else {
            Place::Stream
        });
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The folder that a file of this path is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn full(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no file's name"));
    };
    Ok(fs::canonicalize(folder_of(path))?.join(name))
}

/// Whether a path names an open file of this process: `/dev/stdout`, `/dev/fd/63`. It may be a file, but
/// to write another under that file's name would not reach who holds it open.
fn is_descriptor(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    let of_process = folder.starts_with("/proc") && folder.ends_with("fd");
    let name = path.file_name().and_then(|name| name.to_str());
    let standard = matches!(name, Some("stdin" | "stdout" | "stderr"));
    of_process || folder == Path::new("/dev/fd") || (folder == Path::new("/dev") && standard)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_is_one_place_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| folder.path().join(name);
        fs::write(named("file"), "").unwrap();
        fs::hard_link(named("file"), named("hard")).unwrap();
        symlink("file", named("link")).unwrap();
        symlink("link", named("link-of-link")).unwrap();
        let file = [place(&named("file")).unwrap()];
        fs::create_dir(named("sub")).unwrap();
        for name in ["hard", "link", "link-of-link", "./file", "sub/../file"] {
            assert!(place(&named(name)).unwrap().is_in(&file), "{name}");
        }
        fs::write(named("other"), "").unwrap();
        assert!(!place(&named("other")).unwrap().is_in(&file));
    }

    #[test]
    fn a_file_to_come_is_one_place_too() {
        let folder = tempfile::tempdir().unwrap();
        symlink("new", folder.path().join("dangling")).unwrap();
        let new = [place(&folder.path().join("new")).unwrap()];
        assert!(place(&folder.path().join("dangling")).unwrap().is_in(&new));
        assert!(place(&folder.path().join("./new")).unwrap().is_in(&new));
    }

    #[test]
    fn what_is_no_file_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(place(folder.path()), Ok(Place::Folder(_))));
        assert!(matches!(place(Path::new("/dev/null")), Ok(Place::Stream)));
        assert!(matches!(place(Path::new("/dev/stdout")), Ok(Place::Stream)));
        assert!(place(&folder.path().join("no/file")).is_err());
        symlink("circle", folder.path().join("circle")).unwrap();
        assert!(place(&folder.path().join("circle")).is_err());
    }
}
