//! Telling a file that mlxbench wrote earlier, which may be written again, from any other, which may
//! not: a config, a result, somebody's notes.

use std::collections::BTreeMap;

use mlxbench_core::trial::Matrix;
use serde_json::Value;

use crate::figures::FIGURES;
use crate::llama_bench::sql;
use crate::{ComparisonFormat, Format, Picture};
use crate::{tex, trials};

/// A kind of file that mlxbench writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// What [`render`](crate::render) and [`history`](crate::history) make.
    Report(Format),
    /// What [`render_comparison`](crate::render_comparison) makes.
    Comparison(ComparisonFormat),
    /// A chart.
    Chart(Picture),
    /// [`Matrix`](mlxbench_core::trial::Matrix) in JSON.
    Matrix,
}

impl Written {
    /// What files of this kind are to people: `a page`, `a table in Markdown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Report(Format::Html) => "a page",
            Self::Report(Format::Terminal { .. }) => "a table in text",
            Self::Report(Format::Markdown) => "a report in Markdown",
            Self::Report(Format::Csv) => "a table in CSV",
            Self::Report(Format::Json) => "a report in JSON",
            Self::Report(Format::LlamaBenchJson) => "entries for llama-bench's readers",
            Self::Report(Format::LlamaBenchMarkdown) => "a table in llama-bench's form",
            Self::Report(Format::Sql) => "SQL for compare-llama-bench.py",
            Self::Report(Format::Tex) => "tables for LaTeX",
            Self::Report(Format::Bencher) => "values for Bencher",
            Self::Report(Format::BiggerIsBetter | Format::SmallerIsBetter) => {
                "values for github-action-benchmark"
            }
            Self::Comparison(ComparisonFormat::Text) => "a comparison in text",
            Self::Comparison(ComparisonFormat::Markdown) => "a comparison in Markdown",
            Self::Comparison(ComparisonFormat::Json) => "a comparison in JSON",
            Self::Comparison(ComparisonFormat::Junit) => "a comparison in JUnit's XML",
            Self::Comparison(ComparisonFormat::Annotations) => "a comparison for GitHub",
            Self::Chart(Picture::Svg) => "a chart in SVG",
            Self::Chart(Picture::Png) => "a picture in PNG",
            Self::Matrix => "a matrix of operations",
        }
    }

    /// Whether `bytes` look like what mlxbench, of this version or an earlier one, wrote of this kind.
    /// An empty file holds nothing that could be lost.
    pub fn wrote(self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if self == Self::Chart(Picture::Png) {
            return bytes.starts_with(b"\x89PNG\r\n\x1a\n");
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return false;
        };
        let has_line = |begin: &str| text.lines().any(|line| line.starts_with(begin));
        match self {
            Self::Report(Format::Html) => {
                text.starts_with("<!DOCTYPE html>") && text.contains("class=\"brand\">mlxbench<")
            }
            Self::Report(Format::Terminal { .. }) => {
                // A heading, and its table: notes may hold one somewhere.
                text == "no results\n"
                    || has_line("target ") && has_line("> best of its precision")
                    || text
                        .lines()
                        .nth(1)
                        .is_some_and(|line| has_columns(line, &COLUMNS))
                    || are_machines(text)
            }
            Self::Report(Format::Markdown) => {
                text == "No results.\n"
                    || text.starts_with("## ") && has_line("| model | backend | device | dtype |")
                    || text.starts_with(trials::HEADING) && has_line(trials::OPERATION)
            }
            Self::Report(Format::Csv) => text.starts_with("run,started,model,mlxbench_version,"),
            Self::Report(Format::Json) => all(text, |value| {
                // A result alone has no summary: it is what was measured, and can't be made again.
                value.get("schema_version").is_some() && value.get("summary").is_some()
            }),
            Self::Report(Format::LlamaBenchJson) => {
                all(text, |value| value.get("mlxbench_version").is_some())
            }
            Self::Report(Format::LlamaBenchMarkdown) => {
                let is_empty = text.lines().count() == 2;
                let head = text.lines().next().unwrap_or_default();
                head.starts_with("| model ")
                    && head.ends_with(" t/s |")
                    && (is_empty || text.contains(", mlxbench "))
            }
            Self::Report(Format::Sql) => text.starts_with(sql::HEAD),
            Self::Report(Format::Tex) => text.starts_with(tex::HEAD),
            Self::Report(Format::Bencher) => {
                serde_json::from_str::<BTreeMap<String, Measures>>(text)
                    .is_ok_and(|benchmarks| benchmarks.values().all(are_ours))
            }
            Self::Report(Format::BiggerIsBetter | Format::SmallerIsBetter) => all(text, |value| {
                let keys = ["name", "unit", "value", "extra"];
                keys.iter().all(|key| value.get(key).is_some())
            }),
            Self::Comparison(ComparisonFormat::Text) => {
                let last = text.trim_end().lines().next_back().unwrap_or_default();
                let gates = ["pass: ", "fail: ", "inconclusive: "];
                gates.iter().any(|gate| last.starts_with(gate))
            }
            Self::Comparison(ComparisonFormat::Markdown) => text.starts_with("### mlxbench: "),
            Self::Comparison(ComparisonFormat::Json) => {
                let is_ours = |value: &Value| {
                    let keys = ["base", "new", "rows", "gate"];
                    keys.iter().all(|key| value.get(key).is_some())
                };
                serde_json::from_str(text).is_ok_and(|value| is_ours(&value))
            }
            Self::Comparison(ComparisonFormat::Junit) => {
                text.starts_with("<?xml") && has_line("<testsuites name=\"mlxbench\"")
            }
            Self::Comparison(ComparisonFormat::Annotations) => text.starts_with("::"),
            Self::Matrix => Matrix::from_json(text).is_ok(),
            Self::Chart(_) => text.starts_with("<svg class=\"chart\" role=\"img\""),
        }
    }
}

/// Measures of a benchmark, as Bencher reads them.
type Measures = BTreeMap<String, BTreeMap<String, f64>>;

fn are_ours(measures: &Measures) -> bool {
    measures
        .keys()
        .all(|name| FIGURES.iter().any(|figure| figure.slug == name))
}

/// Whether `text` begins as matrices do: with machines, below each who tried and how many operations are what.
fn are_machines(text: &str) -> bool {
    let lines = || text.lines().take_while(|line| !line.is_empty());
    let of = |part: &str| match part.split_once(' ') {
        Some((count, status)) => {
            count.parse::<usize>().is_ok() && trials::STATUSES.contains(&status)
        }
        None => false,
    };
    let counts = |line: &str| {
        let line = line.strip_prefix("   ").unwrap_or_default();
        line == trials::NOTHING || line.split(", ").all(of)
    };
    let who = lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut named = who.split("mlxbench ").skip(1);
    lines().any(counts) && named.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The first columns of the tables in text.
const COLUMNS: [&str; 4] = ["model", "backend", "device", "dtype"];

/// Whether a line is the head of a table with these columns first.
fn has_columns(line: &str, columns: &[&str]) -> bool {
    let cells = line.strip_prefix('|').unwrap_or_default().split('|');
    cells
        .map(str::trim)
        .take(columns.len())
        .eq(columns.iter().copied())
}

/// Whether `text` is an object of JSON that `holds` is true of, or an array of such.
fn all(text: &str, holds: impl Fn(&Value) -> bool) -> bool {
    match serde_json::from_str(text) {
        Ok(Value::Array(values)) => values.iter().all(holds),
        Ok(value) => holds(&value),
        Err(_) => false,
    }
}
