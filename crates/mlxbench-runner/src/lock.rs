//! One run at a time on a machine: two would measure each other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use jiff::Timestamp;

use crate::{Error, Result};

/// The file's name, in the system's folder for temporary files. It stays when a run ends.
const NAME: &str = "mlxbench.lock";

/// Held while a run goes on. The kernel gives it back however the process ends.
#[derive(Debug)]
pub(crate) struct MachineLock {
    /// Locked while it is open; `None` where another user's file can't be opened.
    _file: Option<File>,
}

impl MachineLock {
    /// Takes the machine for the run called `name`.
    ///
    /// # Errors
    /// When another run has it: the message names that run.
    pub(crate) fn acquire(name: &str) -> Result<Self> {
        Self::acquire_in(&std::env::temp_dir(), name)
    }

    fn acquire_in(folder: &Path, name: &str) -> Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let Ok(mut file) = options.open(folder.join(NAME)) else {
            return Ok(Self { _file: None });
        };
        match file.try_lock() {
            Ok(()) => {
                let since = Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
                let holder = format!("{name}, process {}, since {since}", std::process::id());
                // Only a later message would lack it.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.write_all(holder.as_bytes()));
                Ok(Self { _file: Some(file) })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.rewind();
                let _ = file.read_to_string(&mut holder);
                Err(Error::Busy(holder))
            }
            // A file system without locks can't keep two runs apart.
            Err(TryLockError::Error(_)) => Ok(Self { _file: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = MachineLock::acquire_in(folder.path(), "first").unwrap();
        let message = MachineLock::acquire_in(folder.path(), "second")
            .unwrap_err()
            .to_string();
        assert!(message.contains("first, process"), "{message}");
        drop(first);
        MachineLock::acquire_in(folder.path(), "second").unwrap();
    }

    #[test]
    fn a_folder_that_keeps_no_files_stops_no_run() {
        assert!(MachineLock::acquire_in(Path::new("/nowhere"), "any").is_ok());
    }
}
