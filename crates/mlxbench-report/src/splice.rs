//! Tables of results inside of a document: between markers that name the result, so that they can
//! be written again and can't go stale unseen.
//!
//! ```markdown
//! <!-- mlxbench: results/quick/sample.json -->
//! <!-- /mlxbench -->
//! ```

use mlxbench_core::results::RunResult;

use crate::Digest;
use crate::markdown;

const OPEN: &str = "<!-- mlxbench: ";
const CLOSE: &str = "<!-- /mlxbench -->";

/// What is wrong with a document's markers.
#[derive(Debug, thiserror::Error)]
pub enum SpliceError<E> {
    /// There are none.
    #[error(
        "nothing to write: put `{OPEN}RESULT.json -->` and `{CLOSE}` on lines of their own, around where the table goes"
    )]
    NoMarkers,
    /// One isn't closed.
    #[error("line {line}: `{OPEN}...` has no `{CLOSE}` after it")]
    Unclosed {
        /// Where it opens, counted from 1.
        line: usize,
    },
    /// One isn't opened, or not to its end.
    #[error("line {line}: expected `{OPEN}RESULT.json -->` on a line of its own before `{CLOSE}`")]
    Unopened {
        /// Where it is, counted from 1.
        line: usize,
    },
    /// The result that one names can't be read.
    #[error("line {line}")]
    Result {
        /// Where it is named, counted from 1.
        line: usize,
        /// Why.
        source: E,
    },
}

/// `text` with the table of its result between each pair of markers; `read` reads the result that
/// a marker names.
pub fn splice<E>(
    text: &str,
    mut read: impl FnMut(&str) -> Result<RunResult, E>,
) -> Result<String, SpliceError<E>> {
    let mut spliced = String::with_capacity(text.len());
    let mut open: Option<usize> = None;
    let mut any = false;
    for (at, whole) in text.split_inclusive('\n').enumerate() {
        let (number, trimmed) = (at + 1, whole.trim());
        if let Some(rest) = trimmed.strip_prefix(OPEN) {
            if let Some(line) = open {
                return Err(SpliceError::Unclosed { line });
            }
            let name = rest.strip_suffix("-->");
            let name = name.ok_or(SpliceError::Unopened { line: number })?.trim();
            let result = read(name).map_err(|source| SpliceError::Result {
                line: number,
                source,
            })?;
            spliced.push_str(whole);
            spliced.push_str(&markdown::table(&Digest::new(&result)));
            (open, any) = (Some(number), true);
        } else if trimmed == CLOSE {
            open.take().ok_or(SpliceError::Unopened { line: number })?;
            spliced.push_str(whole);
        } else if open.is_none() {
            spliced.push_str(whole);
        }
    }
    match open {
        Some(line) => Err(SpliceError::Unclosed { line }),
        None if !any => Err(SpliceError::NoMarkers),
        None => Ok(spliced),
    }
}
