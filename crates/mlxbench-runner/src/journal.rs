//! Every record on disk as it happens. A killed run loses at most the case in hand.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use jiff::{Timestamp, civil};
use mlxbench_core::results::{Record, Run, RunResult, migrate};

use crate::{Error, Result};

/// What a run's files are named after, for `strftime`: its start in UTC, so that names sort by time.
pub(crate) const STEM: &str = "%Y%m%dT%H%M%S%.3fZ";

/// Whether a result is named by the time of its run.
pub(crate) fn is_stamped(file: &Path) -> bool {
    let stem = file.file_stem().and_then(OsStr::to_str);
    stem.is_some_and(|stem| civil::DateTime::strptime(STEM, stem).is_ok())
}

/// Bytes that are read of a journal's first line at most.
const LONGEST_RUN: u64 = 64 << 20;

/// What the name of a journal ends in.
pub const JOURNAL_SUFFIX: &str = ".journal.jsonl";

/// The files of one run: `<stem>.journal.jsonl` while it goes on, `<stem>.json` in the end.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Starts a journal in `folder`, made when missing, with its first record.
    ///
    /// # Errors
    /// When the folder can't be made or written to, or a journal of that name is there. None is left
    /// behind, then.
    pub fn create(folder: &Path, stem: &str, run: &Run) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let path = folder.join(format!("{stem}{JOURNAL_SUFFIX}"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::io(&path, error))?;
        let mut journal = Self { path, file };
        match journal.append(&Record::Run(Box::new(run.clone()))) {
            Ok(()) => sync_folder_of(&journal.path),
            Err(error) => {
                let _ = std::fs::remove_file(&journal.path);
                return Err(error);
            }
        }
        Ok(journal)
    }

    /// A journal at `path` that adds up to `result`, to go on with what came to its end.
    ///
    /// # Errors
    /// When it can't be written, or is there. None is left behind, then.
    pub(crate) fn of(path: &Path, result: &RunResult) -> Result<Self> {
        let wrap = |error| Error::io(path, error);
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let mut file = file.map_err(wrap)?;
        let line =
            |record: Record| serde_json::to_string(&record).expect("records are plain data") + "\n";
        let lines: String = records(result.clone()).map(line).collect();
        if let Err(error) = file
            .write_all(lines.as_bytes())
            .and_then(|()| file.sync_data())
        {
            let _ = std::fs::remove_file(path);
            return Err(wrap(error));
        }
        sync_folder_of(path);
        Ok(Self {
            path: path.to_owned(),
            file,
        })
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
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.trim_end_matches(JOURNAL_SUFFIX);
        let path = self.path.with_file_name(format!("{stem}.json"));
        write_whole(&path, result).map_err(|error| Error::io(&path, error))?;
        sync_folder_of(&path);
        // A journal that stays says nothing that the result doesn't.
        let _ = std::fs::remove_file(&self.path);
        Ok(path)
    }
}

/// The records that add up to a result whose run goes on: all but its end.
fn records(result: RunResult) -> impl Iterator<Item = Record> {
    let resumed = result.resumed.into_iter().map(|at| Record::Resumed { at });
    let probes = [
        Record::Streams {
            probes: result.streams,
        },
        Record::Products {
            probes: result.products,
        },
    ];
    std::iter::once(Record::Run(Box::new(result.run)))
        // What had failed before is tried again, as it was then.
        .chain(resumed)
        .chain(result.targets.into_iter().map(Record::Target))
        .chain(result.equivalences.into_iter().map(Record::Equivalence))
        .chain(result.checks.into_iter().map(Record::Check))
        .chain(result.partings.into_iter().map(Record::Parting))
        .chain(
            result
                .quantisation_costs
                .into_iter()
                .map(Record::QuantisationCost),
        )
        .chain(probes)
        .chain(result.warmups.into_iter().map(Record::Warmup))
        .chain(result.samples.into_iter().map(Box::new).map(Record::Sample))
        .chain(result.failures.into_iter().map(Record::Failure))
        .chain(result.stopped.into_iter().map(Record::Stopped))
}

/// Where the journal of a result's run lies.
pub(crate) fn beside(result: &Path) -> PathBuf {
    let stem = result.file_stem().unwrap_or_default().to_string_lossy();
    result.with_file_name(format!("{stem}{JOURNAL_SUFFIX}"))
}

/// Sees to it that a file which was made or renamed keeps its name after a loss of power, where the file
/// system can.
fn sync_folder_of(file: &Path) {
    let folder = file.parent().unwrap_or(Path::new(""));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Writes beside the target and renames, so that a result is whole or not there.
fn write_whole(path: &Path, result: &RunResult) -> io::Result<()> {
    let partial = path.with_extension("json.partial");
    let write = || {
        let mut file = BufWriter::new(File::create(&partial)?);
        serde_json::to_writer_pretty(&mut file, result)?;
        file.write_all(b"\n")?;
        file.into_inner()?.sync_all()?;
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
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
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
    result.check()?;
    Ok(result)
}

/// The newest journal in `folder` by the start of its run, that of a run which was cut short. One
/// without a whole line holds nothing to go on with.
///
/// # Errors
/// When there is none.
pub fn newest(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let journals = entries.map(|entry| entry.path());
    journals
        .filter(|path| path.to_string_lossy().ends_with(JOURNAL_SUFFIX))
        .filter_map(|path| Some((start(&path)?, path)))
        .max()
        .map(|(_, path)| path)
        .ok_or_else(|| {
            Error::Resume(format!(
                "nothing to resume: no *{JOURNAL_SUFFIX} in {}",
                folder.display()
            ))
        })
}

/// When the run of a journal started; the inner `None` where its first line doesn't say. `None` when it
/// has no whole line.
fn start(journal: &Path) -> Option<Option<Timestamp>> {
    let mut line = Vec::new();
    let file = BufReader::new(File::open(journal).ok()?);
    file.take(LONGEST_RUN).read_until(b'\n', &mut line).ok()?;
    line.ends_with(b"\n").then(|| {
        let record = migrate::record(&String::from_utf8_lossy(&line));
        match record {
            Ok(Record::Run(run)) => Some(run.started),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;

    fn result() -> RunResult {
        migrate::result(include_str!("../../mlxbench-core/tests/results/v1.json")).unwrap()
    }

    /// The journal of a whole run.
    fn text(result: &RunResult) -> String {
        let line = |record: Record| serde_json::to_string(&record).unwrap() + "\n";
        records(result.clone()).map(line).collect()
    }

    #[test]
    fn lines_add_up_to_the_result_that_they_tell() {
        let mut expected = result();
        let text = text(&expected);
        expected.finished = None;
        assert_eq!(fold(&text).unwrap(), expected);
        let torn = format!("{text}{{\"record\": \"sam");
        assert_eq!(fold(&torn).unwrap(), expected);
    }

    #[test]
    fn a_line_that_lies_is_refused() {
        let text = text(&result());
        let lie = text.replacen("\"repetition\":0", "\"repetition\":18446744073709551615", 1);
        assert_ne!(text, lie);
        assert!(fold(&lie).unwrap_err().contains("repetition"));
    }

    #[test]
    fn the_newest_journal_is_the_one_whose_run_started_last() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |name: &str, text: &str| {
            let file = folder.path().join(format!("{name}{JOURNAL_SUFFIX}"));
            std::fs::write(&file, text).unwrap();
            file
        };
        keep("z-torn", "{\"record\": \"run\"");
        assert!(newest(folder.path()).is_err());
        let other = keep("y-other", "what?\n");
        assert_eq!(
            newest(folder.path()).unwrap(),
            other,
            "to say what is wrong with it"
        );
        keep("x-old", &text(&result()));
        let mut later = result();
        later.run.started += 1.hours();
        let new = keep("a-new", &text(&later));
        assert_eq!(newest(folder.path()).unwrap(), new);
    }

    #[test]
    fn a_result_replaces_its_journal_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), "run", &result().run).unwrap();
        let path = journal.finish(&result()).unwrap();
        assert_eq!(read(&path).unwrap(), result());
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::fuzz_cases()))]

        #[test]
        fn any_journal_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
            tail in any::<String>(),
        ) {
            let mut bytes = text(&result()).into_bytes();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(tail.into_bytes());
            let _ = fold(&String::from_utf8_lossy(&bytes));
        }
    }
}
