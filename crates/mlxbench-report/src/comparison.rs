//! A comparison in print: for a terminal, a pull request, a script, and for CI's own views.
//!
//! | module | its subject |
//! |---|---|
//! | `words` | what all forms say: the headline, a row's cells, what to mind |
//! | `text` | a table for people |
//! | `markdown` | the same for a pull request, what changed first |
//! | `junit` | a test case a row |
//! | `annotations` | GitHub's workflow commands |

mod annotations;
mod junit;
mod markdown;
mod text;
mod words;

use mlxbench_analysis::{ComparedRow, Comparison};

/// How a comparison is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonFormat {
    /// A table for people.
    Text,
    /// For a pull request or a job's summary.
    Markdown,
    /// All of it.
    Json,
    /// JUnit's XML: a test case a row; what got worse is a failure, what can't be told is skipped.
    Junit,
    /// GitHub's workflow commands: an error for what got worse, a warning for what can't be told.
    Annotations,
}

impl ComparisonFormat {
    /// The format of a name or of a file's ending; `None` for others.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "text" | "txt" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// `comparison` as UTF-8.
pub fn render_comparison(comparison: &Comparison, format: ComparisonFormat) -> Vec<u8> {
    match format {
        ComparisonFormat::Text => text::render(comparison).into_bytes(),
        ComparisonFormat::Markdown => markdown::render(comparison).into_bytes(),
        ComparisonFormat::Json => {
            let written = serde_json::to_vec_pretty(comparison);
            let mut bytes = written.expect("its keys are strings, and a Vec takes every write");
            bytes.push(b'\n');
            bytes
        }
        ComparisonFormat::Junit => junit::render(comparison).into_bytes(),
        ComparisonFormat::Annotations => annotations::render(comparison).into_bytes(),
    }
}

/// How a row that is open stands while two sides are measured: `candle/cpu/f32 pp64+tg16 decode -9.8 % (-14.0 to -4.2),
/// about 30 rounds`.
pub fn row_standing(row: &ComparedRow) -> String {
    words::standing(row)
}
