//! Pages, charts, tables and files of results: results in, bytes out, nothing else touched.
//!
//! | module | its subject |
//! |---|---|
//! | `png` | charts as pictures |
//! | `splice` | tables inside of a document |
//! | `html` | one page with everything, for a browser |
//! | `charts` | what a result becomes on axes, one file a chart |
//! | `draw` | charts as data, and their drawing |
//! | `answer` | the answer in words |
//! | `first` | what a report says first |
//! | `across` | several results as one answer |
//! | `names` | what targets are called |
//! | `digest` | a result with its summary |
//! | `terminal` | a table for people, in llama-bench's manner |
//! | `markdown` | the same for GitHub, with what was measured where |
//! | `csv` | every repetition's raw figures |
//! | `json` | the results themselves, with their summaries |
//! | `llama_bench` | what llama-bench would have written |
//! | [`external`](mod@external) | figures that other programs measured |
//! | [`breakdown`](mod@breakdown) | where the time of a pass goes, op by op |
//! | `benchmark_action` | what github-action-benchmark reads |
//! | `bencher` | what Bencher reads |
//! | `tex` | tables for LaTeX |
//! | `community` | everybody's results, by chip |
//! | `comparison` | what changed between two results, in print |
//! | `apart` | names that would be alike, told apart by what differs |
//! | `cells` | what the two tables share: one row as words |
//! | `conditions` | what meters and sensors told of the devices |
//! | `history` | results over time: which levels changed |
//! | `jumps` | jumps along lengths, in words |
//! | `limits` | what the machine can do at most |
//! | `machine` | what computed, in words |
//! | `partings` | tokens of timed tests beside the reference's |
//! | `race` | who is fastest, in each precision and of all |
//! | `reproduce` | a config that measures a result again |
//! | `quantisation` | what quantised weights cost, and how they are kept |
//! | `trials` | which operations work where |
//! | `warnings` | what a reader must know before believing a figure |
//! | `units` | times, sizes and rates in print |
//! | `written` | whether a file is one that mlxbench wrote |

mod across;
mod answer;
mod apart;
mod bencher;
mod benchmark_action;
pub mod breakdown;
mod cells;
mod charts;
mod chat;
mod checks;
mod community;
mod comparison;
mod conditions;
mod csv;
mod digest;
mod draw;
pub mod external;
mod figures;
mod first;
mod history;
mod html;
mod json;
mod jumps;
mod limits;
mod llama_bench;
mod machine;
mod markdown;
mod names;
mod partings;
mod png;
mod quantisation;
mod race;
mod reproduce;
mod serving;
mod splice;
mod table;
mod terminal;
mod tex;
mod trials;
mod units;
mod warnings;
mod written;

use std::collections::BTreeMap;
use std::str::FromStr;

use mlxbench_analysis::history::Entry;
use mlxbench_core::results::RunResult;
use mlxbench_core::trial::Matrix;

use breakdown::Breakdown;
use digest::Digest;
use draw::theme::Palette;
use external::External;

pub use comparison::{ComparisonFormat, render_comparison, row_standing};
pub use history::{History, newest};
pub use names::{Name, Names};
pub use png::PngError;
pub use splice::{SpliceError, splice};
pub use trials::{trials_page, trials_text};
pub use written::Written;

/// What [`render`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One page for a browser, with charts and all figures.
    Html,
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
    /// What `llama-bench -o json` would write.
    LlamaBenchJson,
    /// What `llama-bench -o md` would write.
    LlamaBenchMarkdown,
    /// What `llama-bench -o sql` would write: `sqlite3` makes of it what compare-llama-bench.py reads.
    Sql,
    /// Tables for LaTeX, with booktabs.
    Tex,
    /// Figures with their intervals as Bencher's `json` adapter reads them.
    Bencher,
    /// Rates as github-action-benchmark's `customBiggerIsBetter` reads them.
    BiggerIsBetter,
    /// Times and memory as its `customSmallerIsBetter` reads them.
    SmallerIsBetter,
}

impl Format {
    /// Whether rows of other programs have a place in it, and matrices of operations.
    pub fn takes_others(self) -> bool {
        matches!(self, Self::Html | Self::Terminal { .. } | Self::Markdown)
    }

    /// Whether it is for programs: a line or an object of each figure, of however many results.
    pub fn is_data(self) -> bool {
        !self.takes_others() && self != Self::Tex
    }
}

/// A format's name that isn't known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFormat {
    /// None that is known.
    #[error(
        "`{0}` is no report format: write html, text, md, csv, json, llama-bench-json, llama-bench-md, \
         sql, tex, bencher, bigger-is-better or smaller-is-better"
    )]
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
            "html" | "htm" => Ok(Self::Html),
            "llama-bench-json" => Ok(Self::LlamaBenchJson),
            "llama-bench-md" => Ok(Self::LlamaBenchMarkdown),
            "bigger-is-better" => Ok(Self::BiggerIsBetter),
            "sql" => Ok(Self::Sql),
            "tex" => Ok(Self::Tex),
            "bencher" => Ok(Self::Bencher),
            "smaller-is-better" => Ok(Self::SmallerIsBetter),
            other => Err(UnknownFormat::Other(other.into())),
        }
    }
}

/// What stands beside results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// Rows of other programs, where the format [takes them](Format::takes_others).
    pub others: Vec<External>,
    /// Where the time of a pass goes, on the page for a browser.
    pub breakdowns: Vec<Breakdown>,
    /// Which operations work on which machine, where the format takes rows of other programs.
    pub matrices: Vec<Matrix>,
    /// The command that goes on from here, the last line of what a terminal gets.
    pub next: Option<String>,
}

/// Renders `results`, in their order, and what stands beside them, as UTF-8 that ends in a newline.
pub fn render(results: &[RunResult], beside: &Beside, format: Format) -> Vec<u8> {
    let digests: Vec<Digest<'_>> = results.iter().map(Digest::new).collect();
    match format {
        Format::Html => html::render(&digests, beside).into_bytes(),
        Format::Terminal { width } => terminal::render(&digests, beside, width).into_bytes(),
        Format::Markdown => markdown::render(&digests, beside).into_bytes(),
        Format::Csv => csv::render(results),
        Format::Json => json::render(digests),
        Format::LlamaBenchJson => llama_bench::json(results),
        Format::BiggerIsBetter => benchmark_action::bigger_is_better(&digests),
        Format::SmallerIsBetter => benchmark_action::smaller_is_better(&digests),
        Format::LlamaBenchMarkdown => llama_bench::markdown(results).into_bytes(),
        Format::Sql => llama_bench::sql(results).into_bytes(),
        Format::Tex => tex::render(&digests).into_bytes(),
        Format::Bencher => bencher::render(&digests),
    }
}

/// The page of results over time, in whatever order they come: what is needed of each, and those whole that are
/// [`newest`] among them.
pub fn history(entries: &[Entry], newest: &[RunResult]) -> History {
    history::render(entries, newest)
}

/// The page of results that people shared, by the folder of their chip.
pub fn community(chips: &BTreeMap<String, Vec<RunResult>>) -> Vec<u8> {
    community::render(chips).into_bytes()
}

/// How a chart is written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// With colours for light and dark.
    Svg,
    /// For where no SVG is taken.
    Png,
}

/// A chart as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartFile {
    /// The file's name: `decode.svg`; it begins with the run's number where there are several.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Every chart of `results`, one file each.
///
/// # Errors
/// A PNG needs a font.
pub fn charts(results: &[RunResult], picture: Picture) -> Result<Vec<ChartFile>, PngError> {
    let backends = results.iter().flat_map(|result| &result.run.targets);
    let palette = Palette::new(backends.map(|target| target.backend.as_str()));
    let mut files = Vec::new();
    for (at, result) in results.iter().enumerate() {
        for chart in charts::of_result(&Digest::new(result), &palette) {
            let stem = match results.len() {
                1 => chart.name.clone(),
                _ => format!("{}-{}", at + 1, chart.name),
            };
            let svg = chart.file(&origin(result));
            let (ending, bytes) = match picture {
                Picture::Svg => ("svg", svg.into_bytes()),
                Picture::Png => ("png", png::png(&stem, &svg)?),
            };
            let name = format!("{stem}.{ending}");
            files.push(ChartFile { name, bytes });
        }
    }
    Ok(files)
}

/// What was measured where and when, for a chart that stands alone.
fn origin(result: &RunResult) -> String {
    let run = &result.run;
    let tests = run.tests.iter().map(ToString::to_string);
    let tests: Vec<String> = tests.take(4).collect();
    let more = run.tests.len() - tests.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "{} on {}; {}{more}; {}; {}, mlxbench {}",
        run.model.name,
        machine::whole(result),
        tests.join(", "),
        units::repetitions(result),
        run.started.strftime("%Y-%m-%d"),
        run.mlxbench.version,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse_from_names_and_endings() {
        let terminal = Format::Terminal { width: None };
        for (name, format) in [
            ("html", Format::Html),
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
    fn an_unknown_format_names_those_that_are_known() {
        let message = "pdf".parse::<Format>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`pdf` is no report format: write html, text, md, csv, json, llama-bench-json, \
             llama-bench-md, sql, tex, bencher, bigger-is-better or smaller-is-better"
        );
    }
}
