//! Every record on disk as it happens. A killed run loses at most the case in hand.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mlxbench_core::results::{Record, RunResult, migrate};

use crate::{Error, Result};

/// What a run's files are named after, for `strftime`: its start in UTC, so that names sort by time.
pub(crate) const STEM: &str = "%Y%m%dT%H%M%S%.3fZ";

/// What the name of a journal ends in.
pub const JOURNAL_SUFFIX: &str = ".journal.jsonl";

/// The files of one run: `<stem>.journal.jsonl` while it goes on, `<stem>.json` in the end.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Starts a journal in `folder`, made when missing.
    ///
    /// # Errors
    /// When the folder can't be made or written to, or a journal of that name is there.
    pub fn create(folder: &Path, stem: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let path = folder.join(format!("{stem}{JOURNAL_SUFFIX}"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::io(&path, error))?;
        Ok(Self { path, file })
    }

    /// Goes on with the journal at `path`. A last line that was cut short is dropped.
    ///
    /// # Errors
    /// When it can't be opened or cut.
    pub fn reopen(path: &Path) -> Result<Self> {
        let wrap = |error| Error::io(path, error);
        let whole = std::fs::read(path).map_err(wrap)?;
        let lines_end = whole
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let file = OpenOptions::new().append(true).open(path).map_err(wrap)?;
        file.set_len(lines_end as u64).map_err(wrap)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `record` and waits until it is on disk.
    ///
    /// # Errors
    /// When it can't be written: a full disk, for one.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).expect("records are plain data");
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| Error::io(&self.path, error))
    }

    /// Writes the result file and removes the journal. Returns the result's path.
    ///
    /// # Errors
    /// When the result can't be written whole; the journal then stays.
    pub fn finish(self, result: &RunResult) -> Result<PathBuf> {
        let stem = self.path.to_string_lossy();
        let path = PathBuf::from(format!("{}.json", stem.trim_end_matches(JOURNAL_SUFFIX)));
        write_whole(&path, result).map_err(|error| Error::io(&path, error))?;
        std::fs::remove_file(&self.path).map_err(|error| Error::io(&self.path, error))?;
        Ok(path)
    }
}

/// Writes beside the target and renames, so that a result is whole or not there.
fn write_whole(path: &Path, result: &RunResult) -> io::Result<()> {
    let partial = path.with_extension("json.partial");
    let write = || {
        let mut file = File::create(&partial)?;
        serde_json::to_writer_pretty(&mut file, result)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })
}

/// Reads a result file, or the journal of a run that was cut short.
///
/// # Errors
/// When the file can't be read, or is neither.
pub fn read(path: &Path) -> Result<RunResult> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    // A last line that was cut short may end within a character.
    let text = String::from_utf8_lossy(&bytes);
    let parsed = if path.to_string_lossy().ends_with(JOURNAL_SUFFIX) {
        fold(&text)
    } else {
        migrate::result(&text)
    };
    parsed.map_err(|message| Error::Config {
        path: path.to_owned(),
        message: format!("not a result of mlxbench: {message}"),
    })
}

/// The result that the lines of a journal add up to. A last line cut short is left out.
fn fold(text: &str) -> Result<RunResult, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole
        .lines()
        .enumerate()
        .map(|(n, line)| migrate::record(line).map_err(|error| format!("line {}: {error}", n + 1)));
    let mut result = match lines.next() {
        Some(Ok(Record::Run(run))) => RunResult::new(*run),
        Some(Err(message)) => return Err(message),
        _ => return Err("the journal doesn't begin with a run".into()),
    };
    for record in lines {
        result.apply(record?);
    }
    migrate::check(&result)?;
    Ok(result)
}

/// The newest journal in `folder`, that of a run which was cut short. One without a whole line
/// holds nothing to go on with.
///
/// # Errors
/// When there is none.
pub fn newest(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let journals = entries.map(|entry| entry.path());
    journals
        .filter(|path| path.to_string_lossy().ends_with(JOURNAL_SUFFIX))
        .filter(|path| std::fs::read(path).is_ok_and(|text| text.contains(&b'\n')))
        .max()
        .ok_or_else(|| {
            Error::Resume(format!(
                "nothing to resume: no *{JOURNAL_SUFFIX} in {}",
                folder.display()
            ))
        })
}
