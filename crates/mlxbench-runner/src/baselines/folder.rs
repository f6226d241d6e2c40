//! The newest results in a folder, as runs write them.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use mlxbench_core::results::RunResult;

use super::{Found, entries};
use crate::journal;
use crate::{Error, Result};

/// Which of a folder's runs are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that other runs are compared with.
    OneSide,
    /// Those of `run --ab`, whose sides are compared with each other.
    TwoSides,
    /// All.
    Any,
}

impl Wanted {
    fn fits(self, result: &RunResult) -> bool {
        match self {
            Self::OneSide => result.run.sides.is_none(),
            Self::TwoSides => result.run.sides.is_some(),
            Self::Any => true,
        }
    }
}

/// A result from a file, or the newest finished one in a folder that is `wanted`: by the time at which its run
/// started, whatever the file's name. Other JSON files in the folder don't count, nor do runs that were cut short.
///
/// # Errors
/// When the file is no result, or the folder holds none that is wanted.
pub fn result_at(path: &Path, wanted: Wanted) -> Result<RunResult> {
    match path.is_dir() {
        true => Ok(newest_result(path, wanted)?.1),
        false => journal::read(path),
    }
}

/// The newest finished result in a folder that is `wanted`, with its file.
pub(crate) fn newest_result(path: &Path, wanted: Wanted) -> Result<(PathBuf, RunResult)> {
    let (others, stamped) = json_files(path)?;
    let files = others.into_iter().map(|file| (file, false));
    let files = files.chain(stamped.into_iter().map(|file| (file, true)));
    let mut newest: Option<(PathBuf, RunResult)> = None;
    let (mut unfinished, mut unwanted) = (0, 0);
    let mut unread = None;
    for (file, is_stamped) in files {
        match journal::read(&file) {
            Ok(result) if result.finished.is_none() => unfinished += 1,
            Ok(result) if !wanted.fits(&result) => unwanted += 1,
            Ok(result) => {
                let time = |result: &RunResult| (result.run.started, result.finished);
                let newer = newest
                    .as_ref()
                    .is_none_or(|(_, known)| time(&result) > time(known));
                newest = if newer { Some((file, result)) } else { newest };
                if is_stamped {
                    break;
                }
            }
            Err(error) => unread = Some(error),
        }
    }
    newest.ok_or_else(|| {
        let why = match (unwanted, unfinished, unread) {
            (0, 0, None) => String::new(),
            (0, 0, Some(error)) => format!(" ({error})"),
            (0, count, _) => format!(" ({count} of a run that was cut short)"),
            (count, ..) if wanted == Wanted::TwoSides => format!(" of --ab ({count} without)"),
            (count, ..) => format!(" but of --ab ({count}), which has two sides"),
        };
        Error::Baseline(format!(
            "{} holds no result of a run that came to its end{why}: let `mlxbench run CONFIG` write one",
            path.display()
        ))
    })
}

/// The newest `last` finished results in a folder that are like the newest of all.
pub(super) fn newest_results(folder: &Path, last: NonZeroUsize) -> Result<Found> {
    let (newest, result) = newest_result(folder, Wanted::OneSide)?;
    let mut found = Found::of(result);
    if last.get() == 1 {
        return Ok(found);
    }
    let (others, stamped) = json_files(folder)?;
    let is_earlier = |file: &PathBuf| *file != newest;
    found.add(stamped.into_iter().filter(is_earlier), last);
    // Of these, those that are no results don't count.
    let others = others.into_iter().filter(is_earlier);
    let others = others.filter_map(|file| journal::read(&file).ok());
    for other in others {
        if found.is_another(&other) {
            found.results.push(other);
        }
    }
    found.results[1..].sort_by_key(|result| Reverse((result.run.started, result.finished)));
    found.results.truncate(last.get());
    Ok(found)
}

/// The JSON files in a folder: those that aren't named as runs' files are, and those that are, the newest first. Runs
/// name them by their time, so that of thousands only the newest need be read.
fn json_files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let is_json = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "json");
    let files = entries(folder)?.into_iter().filter(is_json);
    let (mut stamped, others): (Vec<PathBuf>, Vec<PathBuf>) =
        files.partition(|file| journal::is_stamped(file));
    stamped.sort_unstable_by(|a, b| b.cmp(a));
    Ok((others, stamped))
}

#[cfg(test)]
mod tests {
    use mlxbench_core::results::Sides;

    use super::super::tests::result;
    use super::*;

    #[test]
    fn the_newest_in_a_folder_is_the_one_that_started_last() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let keep = |name: &str, result: &RunResult| {
            write(name, &serde_json::to_string(result).unwrap());
        };
        let message = result_at(folder.path(), Wanted::Any)
            .unwrap_err()
            .to_string();
        assert!(message.contains("holds no result"), "{message}");
        keep("y.json", &result(9, false));
        let message = result_at(folder.path(), Wanted::Any)
            .unwrap_err()
            .to_string();
        assert!(message.contains("cut short"), "{message}");
        keep("z-old.json", &result(1, true));
        keep("a-new.json", &result(3, true));
        keep("m.json", &result(2, true));
        write("zz-other.json", "{}");
        write("zz-torn.json", "{\"schema_version\": 2, \"run\"");
        let newest = result_at(folder.path(), Wanted::Any).unwrap();
        assert_eq!(newest.run.started, result(3, true).run.started);
    }
    #[test]
    fn a_newer_run_of_two_sides_is_passed_over_where_one_side_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |name: &str, result: &RunResult| {
            let text = serde_json::to_string(result).unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        let mut sided = result(5, true);
        sided.run.sides = Some(Sides {
            a: "old".into(),
            b: "new".into(),
            sequence: None,
        });
        let newest = |wanted| result_at(folder.path(), wanted).map(|found| found.run.started);
        keep("ab.json", &sided);
        let message = newest(Wanted::OneSide).unwrap_err().to_string();
        assert!(message.contains("but of --ab (1)"), "{message}");
        keep("plain.json", &result(1, true));
        assert_eq!(
            newest(Wanted::OneSide).unwrap(),
            result(1, true).run.started
        );
        assert_eq!(newest(Wanted::TwoSides).unwrap(), sided.run.started);
        assert_eq!(newest(Wanted::Any).unwrap(), sided.run.started);
    }
}
