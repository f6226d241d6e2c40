//! Tables and files of results: results in, bytes out, nothing else touched.
//!
//! | module | its subject |
//! |---|---|
//! | `terminal` | a table for people, in llama-bench's manner |
//! | `markdown` | the same for GitHub, with what was measured where |
//! | `csv` | every repetition's raw figures |
//! | `json` | the results themselves, with their summaries |
//! | [`llama_bench`] | what llama-bench would have written |
//! | [`external`] | figures that other programs measured |
//! | `cells` | what the two tables share: one row as words |
//! | `limits` | what the machine can do at most |
//! | `warnings` | what a reader must know before believing a figure |
//! | `units` | times, sizes and rates in print |

mod cells;
mod csv;
pub mod external;
mod json;
mod limits;
pub mod llama_bench;
mod markdown;
mod terminal;
mod units;
mod warnings;

use std::str::FromStr;

use mlxbench_core::results::RunResult;

/// What [`render`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    Terminal {
        /// Columns of the terminal; lines aren't fitted to one when `None`.
        width: Option<u16>,
    },
    /// A GitHub table below a header that says what was measured where.
    Markdown,
    /// One line a repetition, raw figures in columns whose names end in their unit, and one line
    /// a failure.
    Csv,
    /// The result with a `summary` beside its own keys; an array of them unless it is exactly one.
    Json,
}

/// A format's name that isn't known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFormat {
    /// HTML, which is planned.
    #[error("HTML reports are not implemented yet: write text, md, csv or json")]
    Html,
    /// Anything else.
    #[error("`{0}` is no report format: write text, md, csv or json")]
    Other(String),
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Reads a format's name or a file's ending.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "text" | "txt" => Ok(Self::Terminal { width: None }),
            "md" | "markdown" => Ok(Self::Markdown),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "html" | "htm" => Err(UnknownFormat::Html),
            other => Err(UnknownFormat::Other(other.into())),
        }
    }
}

/// Renders `results`, in their order, as UTF-8 that ends in a newline.
pub fn render(results: &[RunResult], format: Format) -> Vec<u8> {
    match format {
        Format::Terminal { width } => terminal::render(results, width).into_bytes(),
        Format::Markdown => markdown::render(results).into_bytes(),
        Format::Csv => csv::render(results),
        Format::Json => json::render(results),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse_from_names_and_endings() {
        let terminal = Format::Terminal { width: None };
        for (name, format) in [
            ("text", terminal),
            ("txt", terminal),
            ("md", Format::Markdown),
            ("markdown", Format::Markdown),
            ("csv", Format::Csv),
            ("json", Format::Json),
        ] {
            assert_eq!(name.parse(), Ok(format));
        }
    }

    #[test]
    fn html_says_that_it_is_not_there_and_what_is() {
        let message = "html".parse::<Format>().unwrap_err().to_string();
        assert_eq!(
            message,
            "HTML reports are not implemented yet: write text, md, csv or json"
        );
    }

    #[test]
    fn an_unknown_format_names_those_that_are_known() {
        let message = "pdf".parse::<Format>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`pdf` is no report format: write text, md, csv or json"
        );
    }
}
