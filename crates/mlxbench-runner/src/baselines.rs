//! Results that later ones are compared with, in a folder that can be committed or cached:
//! `FOLDER/<machine>/<name>/<UTC time>.json`, the machine by the fingerprint of its hardware. The newest
//! of a name counts.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use mlxbench_analysis::fingerprint::{hardware, is_digest};
use mlxbench_core::results::RunResult;

use crate::journal::{self, STEM};
use crate::{Error, Result};

mod folder;

pub(crate) use folder::newest_result;
use folder::newest_results;
pub use folder::{Wanted, result_at};

/// A folder of baselines.
#[derive(Debug, Clone)]
pub struct Baselines {
    folder: PathBuf,
}

/// A baseline that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// The fingerprint of its machine.
    pub machine: String,
    /// Its name.
    pub name: String,
    /// Its file: those of one name are in the order of their time.
    pub file: PathBuf,
}

/// What a base is made of.
#[derive(Debug)]
pub struct Found {
    /// The results, the newest first.
    pub results: Vec<RunResult>,
    /// Why earlier ones couldn't be read.
    pub unread: Vec<Error>,
}

impl Found {
    /// The newest alone.
    fn of(newest: RunResult) -> Self {
        Self {
            results: vec![newest],
            unread: Vec::new(),
        }
    }

    /// Adds those of `files`, the newest first, that are like the newest of all, until there are `last`.
    fn add(&mut self, files: impl Iterator<Item = PathBuf>, last: NonZeroUsize) {
        for file in files {
            if self.results.len() == last.get() {
                break;
            }
            match journal::read(&file) {
                Ok(earlier) if self.is_another(&earlier) => self.results.push(earlier),
                Ok(_) => {}
                Err(error) => self.unread.push(error),
            }
        }
    }

    /// Whether a run can stand beside these, and is none of them in another file.
    fn is_another(&self, earlier: &RunResult) -> bool {
        let mut known = self.results.iter();
        is_alike(earlier, &self.results[0]) && !known.any(|known| known.is_same_run(earlier))
    }
}

/// Whether a run can stand beside the newest of a base: it came to its end, has one side, and is of the same machine
/// and config.
fn is_alike(earlier: &RunResult, newest: &RunResult) -> bool {
    let is_whole = earlier.finished.is_some() && earlier.run.sides.is_none();
    is_whole && earlier.run.name == newest.run.name && hardware(earlier) == hardware(newest)
}

impl Baselines {
    /// The result that `text` names: a file, the newest in a folder that is `wanted`, or the newest baseline of that
    /// name.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub fn result(&self, text: &str, machine: &str, wanted: Wanted) -> Result<RunResult> {
        let path = Path::new(text);
        if path.exists() {
            return result_at(path, wanted);
        }
        if !is_name(text) || text.ends_with(".json") {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::io(path, missing));
        }
        journal::read(&self.find(text, machine)?)
    }

    /// The newest `last` baselines of that name, or results in that folder, that are of one machine and config, those
    /// of the newest; of a file its one result.
    ///
    /// # Errors
    /// As of [`result`](Self::result), and when several are asked of a file.
    pub fn results(&self, text: &str, machine: &str, last: NonZeroUsize) -> Result<Found> {
        let path = Path::new(text);
        if path.is_dir() {
            return newest_results(path, last);
        }
        let mut found = Found::of(self.result(text, machine, Wanted::OneSide)?);
        if path.exists() {
            return match last.get() {
                1 => Ok(found),
                _ => Err(Error::Baseline(format!(
                    "--last {last}: {text} is one result: name a baseline or a folder, or each result by itself"
                ))),
            };
        }
        let own = self.list()?.into_iter().rev();
        let own = own.filter(|kept| kept.machine == machine && kept.name == text);
        found.add(own.skip(1).map(|kept| kept.file), last);
        Ok(found)
    }

    /// The baselines in `folder`, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Keeps `result` as the newest of `name`, and says where.
    ///
    /// # Errors
    /// When the name can't be a folder's, the run was cut short or has two sides, a baseline of that name
    /// was measured later, another one in the same millisecond, or the file can't be written.
    pub fn save(&self, name: &str, result: &RunResult) -> Result<PathBuf> {
        if !is_name(name) {
            return Err(Error::Baseline(format!(
                "`{name}` can't name a baseline: write letters, digits, `.`, `_` and `-`"
            )));
        }
        if result.finished.is_none() {
            return Err(Error::Baseline(
                "a run that was cut short is no baseline: continue it with --resume".into(),
            ));
        }
        if result.run.sides.is_some() {
            return Err(Error::Baseline(
                "a run of --ab is no baseline, it has two sides: keep a run of one worker".into(),
            ));
        }
        let machine = hardware(result);
        let folder = self.folder.join(&machine).join(name);
        let time = result.run.started.strftime(STEM);
        let file = folder.join(format!("{time}.json"));
        let newer = self.find(name, &machine).ok().filter(|known| *known > file);
        if let Some(newer) = newer {
            return Err(Error::Baseline(format!(
                "{} was measured later, and would be taken: remove it first, or choose another name",
                newer.display()
            )));
        }
        if file.exists() && journal::read(&file).ok().as_ref() != Some(result) {
            return Err(Error::Baseline(format!(
                "{} is of a run that started in the same millisecond: remove it first, or choose another name",
                file.display()
            )));
        }
        let written = serde_json::to_vec(result).expect("results have string keys only");
        std::fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
        // Only what is complete gets the name.
        let mut new =
            tempfile::NamedTempFile::new_in(&folder).map_err(|e| Error::io(&folder, e))?;
        std::io::Write::write_all(&mut new, &written).map_err(|error| Error::io(&file, error))?;
        new.persist(&file)
            .map_err(|error| Error::io(&file, error.error))?;
        Ok(file)
    }

    /// The newest baseline `name` of a machine.
    ///
    /// # Errors
    /// When there is none; the message says which there are.
    pub fn find(&self, name: &str, machine: &str) -> Result<PathBuf> {
        let all = self.list()?;
        let own = all.iter().filter(|kept| kept.machine == machine);
        if let Some(kept) = own.clone().rfind(|kept| kept.name == name) {
            return Ok(kept.file.clone());
        }
        let mut names: Vec<&str> = own.map(|kept| kept.name.as_str()).collect();
        names.dedup();
        let others = all.iter().any(|kept| kept.name == name);
        let known = match names.as_slice() {
            [] => "it has none".to_owned(),
            names => format!("it has {}", names.join(", ")),
        };
        let others = match others {
            true => "; another machine has it",
            false => "",
        };
        Err(Error::Baseline(format!(
            "{} has no baseline `{name}` of this machine ({machine}): {known}{others}; \
             `mlxbench baseline save {name} RESULT` keeps one",
            self.folder.display()
        )))
    }

    /// All baselines, by machine, name and time. Files and folders that [`save`](Self::save) didn't name are
    /// others'.
    ///
    /// # Errors
    /// When a folder can't be read. A folder that isn't there holds none.
    pub fn list(&self) -> Result<Vec<Kept>> {
        let mut all = Vec::new();
        let machines = folders(&self.folder)?.into_iter();
        for (machine, path) in machines.filter(|(name, _)| is_digest(name)) {
            for (name, path) in folders(&path)? {
                let files = entries(&path)?.into_iter();
                let files = files.filter(|file| is_kept(file));
                all.extend(files.map(|file| Kept {
                    machine: machine.clone(),
                    name: name.clone(),
                    file,
                }));
            }
        }
        all.sort();
        Ok(all)
    }

    /// Removes all but the newest `keep` of each machine and name, and says what it removed.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub fn prune(&self, keep: NonZeroUsize) -> Result<Vec<PathBuf>> {
        let all = self.list()?;
        let mut removed = Vec::new();
        for same in all.chunk_by(|a, b| (&a.machine, &a.name) == (&b.machine, &b.name)) {
            for kept in &same[..same.len().saturating_sub(keep.get())] {
                std::fs::remove_file(&kept.file).map_err(|error| Error::io(&kept.file, error))?;
                removed.push(kept.file.clone());
            }
        }
        Ok(removed)
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(plain)
}

/// Whether a file has the name of a baseline.
fn is_kept(file: &Path) -> bool {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let is_time = stem.is_some_and(|stem| DateTime::strptime(STEM, stem).is_ok());
    is_time && file.extension().is_some_and(|ending| ending == "json")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::io(folder, error))?,
    };
    let entries = entries.map(|entry| entry.map(|entry| entry.path()));
    entries
        .collect::<std::io::Result<_>>()
        .map_err(|error| Error::io(folder, error))
}

/// The folders in `folder`, by their names.
fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
    Ok(folders.filter_map(named).collect())
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use mlxbench_core::results::migrate;

    use super::*;

    /// A result whose run started so many hours after the first, and finished unless it was cut short.
    pub(super) fn result(hours: i64, finished: bool) -> RunResult {
        let text = include_str!("../../mlxbench-core/tests/results/v1.json");
        let mut result = migrate::result(text).unwrap();
        let started = result.run.started + hours.hours();
        result.run.started = started;
        result.finished = finished.then_some(started);
        result
    }

    #[test]
    fn another_run_of_the_same_millisecond_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let baselines = Baselines::new(folder.path());
        let first = result(0, true);
        let file = baselines.save("main", &first).unwrap();
        assert_eq!(baselines.save("main", &first).unwrap(), file, "once more");
        let mut second = first.clone();
        second.run.name = "other".into();
        let message = baselines.save("main", &second).unwrap_err().to_string();
        assert!(message.contains("in the same millisecond"), "{message}");
        assert_eq!(journal::read(&file).unwrap(), first);
    }

    const THREE: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    /// When the runs of a base started, in hours after the first of [`result`].
    fn hours(found: &Found) -> Vec<i64> {
        let first = result(0, true).run.started.as_second();
        let since = |result: &RunResult| (result.run.started.as_second() - first) / 3600;
        found.results.iter().map(since).collect()
    }

    #[test]
    fn a_name_stands_for_its_newest_baselines_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let baselines = Baselines::new(folder.path());
        let mut all = [0, 1, 2, 3, 4].map(|hours| result(hours, true));
        all[3].run.name = "other".into();
        let files = all
            .each_ref()
            .map(|result| baselines.save("main", result).unwrap());
        let machine = hardware(&all[0]);
        let found = || baselines.results("main", &machine, THREE);
        assert_eq!(hours(&found().unwrap()), [4, 2, 1], "of one config");
        std::fs::write(&files[2], "{}").unwrap();
        let without = found().unwrap();
        assert_eq!(hours(&without), [4, 1, 0]);
        let unread: Vec<String> = without.unread.iter().map(Error::to_string).collect();
        assert_eq!(unread.len(), 1, "{unread:?}");
        assert!(
            unread[0].contains(&files[2].display().to_string()),
            "{unread:?}"
        );
        std::fs::write(&files[4], "{}").unwrap();
        assert!(found().is_err(), "nothing stands for the newest");
    }

    #[test]
    fn a_folder_stands_for_its_newest_results_that_are_alike() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |stem: &str, result: &RunResult| {
            let file = folder.path().join(format!("{stem}.json"));
            std::fs::write(&file, serde_json::to_string(result).unwrap()).unwrap();
            file
        };
        let stamped = |result: &RunResult| {
            let time = result.run.started.strftime(STEM);
            keep(&time.to_string(), result)
        };
        for hours in [0, 1, 3, 6] {
            stamped(&result(hours, true));
        }
        let mut elsewhere = result(5, true);
        elsewhere.run.machine.cpu = "another".into();
        stamped(&elsewhere);
        let torn = stamped(&result(4, false));
        let renamed = keep("renamed", &result(2, true));
        std::fs::write(folder.path().join("other.json"), "{}").unwrap();
        let of = |path: &Path, last: NonZeroUsize| {
            Baselines::new(Path::new("")).results(path.to_str().unwrap(), "", last)
        };
        let found = of(folder.path(), THREE).unwrap();
        assert_eq!(hours(&found), [6, 3, 2]);
        assert!(found.unread.is_empty(), "{:?}", found.unread);
        let newest = of(folder.path(), NonZeroUsize::MIN).unwrap();
        assert_eq!(hours(&newest), [6]);
        std::fs::write(&torn, "{}").unwrap();
        let found = of(folder.path(), THREE).unwrap();
        assert_eq!((hours(&found), found.unread.len()), (vec![6, 3, 2], 1));
        let message = of(&renamed, THREE).unwrap_err().to_string();
        assert!(message.contains("is one result"), "{message}");
    }
}
