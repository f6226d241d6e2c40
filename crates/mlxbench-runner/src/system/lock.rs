//! One run at a time on a machine: two would measure each other.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;

/// In the folder for temporary files. All users of a Linux machine share that; on a Mac each user has
/// one, as have containers, and runs of the others aren't seen.
const NAME: &str = "mlxbench.lock";
/// The most that is read of a holder's name, in bytes.
const LONGEST_NAME: u64 = 200;

/// Another run is measuring on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another run is measuring on this machine{}; two at once would measure each other. Wait for it \
     to end",
    .holder.as_deref().map(|holder| format!(": {holder}")).unwrap_or_default()
)]
pub struct LockError {
    /// Which: process, config, since when; absent where it hasn't said so yet.
    pub holder: Option<String>,
}

/// Held while a run measures. The kernel frees it when it is dropped or the process dies; the file
/// stays, and means nothing by itself.
#[derive(Debug)]
pub struct MachineLock {
    /// Locked as long as it is open.
    _file: Option<File>,
    warning: Option<String>,
}

impl MachineLock {
    /// Takes the machine for a run of the config of that name.
    ///
    /// # Errors
    /// When another run holds it. Not when nobody can tell: see [`Self::warning`].
    pub fn acquire(config: &str) -> Result<Self, LockError> {
        Self::acquire_at(&std::env::temp_dir().join(NAME), config)
    }

    /// Why it isn't known whether another run measures, where that is so.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn acquire_at(path: &Path, config: &str) -> Result<Self, LockError> {
        let unknown = |error: io::Error| Self {
            _file: None,
            warning: Some(format!(
                "whether another run is measuring on this machine isn't known: {}: {error}",
                path.display()
            )),
        };
        let mut file = match open(path) {
            Ok(file) => file,
            Err(error) => return Ok(unknown(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(LockError { holder });
            }
            Err(TryLockError::Error(error)) => return Ok(unknown(error)),
        }
        let since = Timestamp::now().strftime("%H:%M UTC");
        let text = format!("pid {}, {config}, since {since}\n", std::process::id());
        // The lock holds without its holder's name too.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()));
        Ok(Self {
            _file: Some(file),
            warning: None,
        })
    }
}

/// Opens the lock's file, or makes it so that every user can.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A link in a folder that all may write to could lead anywhere, and a pipe would wait.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    options.read(true).write(true).custom_flags(flags);
    match options.open(path) {
        // Only now: Linux lets nobody open another's file there in a way that could make it.
        // Source: the kernel's Documentation/admin-guide/sysctl/fs.rst, protected_regular.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create(true).open(path)?;
            // Fails where another user made it a moment ago.
            let _ = file.set_permissions(Permissions::from_mode(0o666));
            Ok(file)
        }
        opened => opened,
    }
}

/// Who holds the lock, as the file says, made fit for a terminal: anyone may write to it.
fn holder(file: &mut File) -> Option<String> {
    let mut text = Vec::new();
    file.take(LONGEST_NAME).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line: String = text
        .lines()
        .next()?
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "pid 1, an older run with a long name, since ever\n").unwrap();
        let first = MachineLock::acquire_at(&path, "quick").unwrap();
        assert_eq!(first.warning(), None);

        let error = MachineLock::acquire_at(&path, "other").unwrap_err();
        let holder = error.holder.clone().unwrap();
        let beginning = format!("pid {}, quick, since ", std::process::id());
        assert!(holder.starts_with(&beginning), "{holder}");
        assert!(holder.ends_with(" UTC"), "{holder}");
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{holder}\n"));
        assert_eq!(
            error.to_string(),
            format!(
                "another run is measuring on this machine: {holder}; two at once would measure \
                 each other. Wait for it to end"
            )
        );

        drop(first);
        let second = MachineLock::acquire_at(&path, "other").unwrap();
        assert_eq!(second.warning(), None);
    }

    #[test]
    fn every_user_may_open_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let _lock = MachineLock::acquire_at(&path, "quick").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    }

    #[test]
    fn a_file_that_cannot_be_opened_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let warns = |path: &Path| {
            let lock = MachineLock::acquire_at(path, "quick").unwrap();
            let warning = lock.warning().unwrap().to_owned();
            assert!(warning.contains(&path.display().to_string()), "{warning}");
        };
        warns(folder.path());
        warns(&folder.path().join("missing").join(NAME));

        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        warns(&link);
        assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    }

    #[test]
    fn a_holder_is_one_short_line_without_control_characters() {
        let said = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(NAME);
            fs::write(&path, text).unwrap();
            holder(&mut File::open(&path).unwrap())
        };
        assert_eq!(said("pid 1, \u{1b}[2Ja\nb").as_deref(), Some("pid 1, [2Ja"));
        assert_eq!(said(&"x".repeat(10_000)).unwrap().len(), 200);
        assert_eq!(said(""), None);
    }

    #[test]
    fn a_holder_without_a_name_is_told_too() {
        let text = LockError { holder: None }.to_string();
        assert!(text.starts_with("another run is measuring on this machine; two at once"));
    }
}
