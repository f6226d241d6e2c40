//! Figures that other programs measured, read from what they print, as rows to stand beside ours.
//!
//! | module | its subject |
//! |---|---|
//! | `llama_bench` | `llama-bench -o json` and `-o jsonl` of llama.cpp |
//! | `mlx_lm` | what `mlx_lm.benchmark` prints |
//! | `text` | a file's bytes as text, also where a shell made UTF-16 of it |
//!
//! Figures are taken as they stand: METHODOLOGY.md says how far their definitions are ours. Text in
//! them is others', neither escaped nor free of control characters.

mod llama_bench;
mod mlx_lm;
mod text;

use mlxbench_analysis::Estimate;
use mlxbench_core::results::Test;

use crate::apart::{Apart, Facts};

pub use text::is_utf16;

/// What a file doesn't say.
const UNKNOWN: &str = "unknown";

/// Figures that another program measured.
#[derive(Debug, Clone, PartialEq)]
pub struct External {
    /// The program with its build: `llama-bench 4567 (abc1234)`, `mlx_lm.benchmark`; several, apart
    /// by `; `, where a file holds figures of several builds.
    pub tool: String,
    /// The file, as the user named it.
    pub file: String,
    /// Processor and GPU, where the file says.
    pub machine: Option<String>,
    /// One a test, in the file's order.
    pub rows: Vec<ExternalRow>,
    /// What the file holds beyond them, and why it is no row.
    pub skipped: Vec<String>,
}

/// A test that another program measured.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalRow {
    /// The model, by the file's own name for it.
    pub model: String,
    /// What computed: `llama.cpp`, `mlx-lm`.
    pub backend: String,
    /// On what, in the file's words: `cpu`, `CUDA`, `Metal,BLAS`.
    pub device: String,
    /// The weights' format, and ours of computation: `bf16`, `q4-bf16`, `Q4_K - Medium`.
    pub dtype: String,
    /// CPU threads.
    pub threads: Option<usize>,
    /// The test.
    pub test: Test,
    /// The prefill rate; its interval is of the file's raw samples, where it has them.
    pub prefill_tokens_per_second: Option<Estimate>,
    /// The decode rate, likewise.
    pub decode_tokens_per_second: Option<Estimate>,
    /// The most memory that was held, by the program's own account.
    pub peak_memory_bytes: Option<u64>,
    /// Everything else that the file says of how it was run, as key and value.
    pub settings: Vec<(String, String)>,
    /// What it says of who ran which file where, likewise.
    pub origin: Vec<(String, String)>,
    /// What tells the row from others that look like it: `n_ubatch=128`; [`tell_apart`] finds it.
    pub differs: Vec<String>,
}

impl ExternalRow {
    /// Everything that tables show of a row but its figures.
    fn name(&self) -> String {
        let threads = self.threads.map(|threads| threads.to_string());
        let threads = threads.unwrap_or_default();
        let words = [
            &self.model,
            &self.backend,
            &self.device,
            &self.dtype,
            &threads,
        ];
        format!("{words:?} {}", self.test)
    }

    /// The test, and what tells the row from others that look like it.
    pub fn test_and_settings(&self) -> String {
        match self.differs.as_slice() {
            [] => self.test.to_string(),
            differs => format!("{} ({})", self.test, differs.join(", ")),
        }
    }
}

/// Sees that no two rows of `files` look alike: those that do get the settings that differ between
/// them, or else, within a file, what else does, or else numbers.
pub fn tell_apart(files: &mut [External]) {
    let rows = || files.iter().flat_map(|file| &file.rows);
    let settings: Vec<&Facts> = rows().map(|row| &row.settings).collect();
    let origins: Vec<&Facts> = rows().map(|row| &row.origin).collect();
    let numbers = files.iter().enumerate();
    let file_of = numbers.flat_map(|(at, file)| file.rows.iter().map(move |_| at));
    let differs = Apart::new(rows().map(ExternalRow::name).collect())
        .by(&settings)
        // A row's note names its file.
        .among(file_of)
        .by(&origins)
        .numbered();
    let rows = files.iter_mut().flat_map(|file| &mut file.rows);
    for (row, differs) in rows.zip(differs) {
        row.differs = differs;
    }
}

/// A file of another program that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}: {place}: expected {expected}: let {tool} write the whole file again, and don't edit it"
)]
pub struct ExternalError {
    /// The file, as the user named it.
    pub file: String,
    /// Where in it: `line 3, column 7`, `entry 2`.
    pub place: String,
    /// What should have been there.
    pub expected: String,
    /// Whose file it seems to be.
    pub tool: &'static str,
}

/// A fault in a file, before anyone knows the file's name.
#[derive(Debug)]
struct Fault {
    place: String,
    expected: String,
}

impl Fault {
    fn new(place: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            expected: expected.into(),
        }
    }

    fn of(self, tool: &'static str, file: &str) -> ExternalError {
        ExternalError {
            file: file.into(),
            place: self.place,
            expected: self.expected,
            tool,
        }
    }
}

/// Reads what `file` holds, in UTF-8 or UTF-16: `None` when the bytes are of neither program. Rows of
/// the file that would look alike are [told apart](tell_apart).
///
/// # Errors
/// When they are, but cut short, garbled or in a format without raw samples.
pub fn read(file: &str, bytes: &[u8]) -> Result<Option<External>, ExternalError> {
    let text = text::decode(bytes);
    let found = if llama_bench::wrote(&text) {
        llama_bench::read(&text).map_err(|fault| fault.of("llama-bench", file))?
    } else if mlx_lm::wrote(&text) {
        mlx_lm::read(&text).map_err(|fault| fault.of("mlx_lm.benchmark", file))?
    } else if let Some((line, format)) = llama_bench::other_format(&text) {
        let expected = format!("what `-o json` or `-o jsonl` writes, found `-o {format}`");
        return Err(Fault::new(format!("line {line}"), expected).of("llama-bench", file));
    } else {
        return Ok(None);
    };
    Ok(found.map(|found| {
        let mut files = [External {
            file: file.into(),
            ..found
        }];
        tell_apart(&mut files);
        let [found] = files;
        found
    }))
}

/// A piece of a file for a message: short, with control characters shown for what they are.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let short: String = text.chars().take(LONGEST).collect();
    let rest = if short.len() < text.len() { "..." } else { "" };
    let shown: String = short.chars().flat_map(char::escape_debug).collect();
    format!("`{shown}{rest}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_short_and_harmless() {
        assert_eq!(quoted("a\u{1b}[31m"), "`a\\u{1b}[31m`");
        assert_eq!(quoted(&"é".repeat(50)), format!("`{}...`", "é".repeat(40)));
    }
}
