//! `mlxbench report`: results to pages, charts, tables and files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_core::results::RunResult;
use mlxbench_core::text::tell;
use mlxbench_core::trial::Matrix;
use mlxbench_report::breakdown::Breakdown;
use mlxbench_report::external::{self, External};
use mlxbench_report::{Beside, Format, Picture, Written};
use mlxbench_runner::journal;
use rayon::prelude::*;

use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};
use crate::output::{print, terminal_width};

/// Results that are shown side by side at most; what programs read may be of more.
const MOST_SHOWN: usize = 100;

/// Show results: a page for a browser, charts, or a table as text, Markdown, CSV, JSON.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench report results/quick/20261123T070000Z.json
  mlxbench report results/quick/20261123T070000Z.json -o quick.html
  mlxbench report results/quick/*.json --format csv -o quick.csv
  mlxbench report results/quick/20261123T070000Z.json --format svg -o charts
  mlxbench report results/quick/20261123T070000Z.json mac-ops.json h100-ops.json -o quick.html
  mlxbench report results/quick/20261123T070000Z.json --format sql | sqlite3 llama-bench.sqlite
  mlxbench report --splice README.md")]
pub(crate) struct Args {
    /// Result files, or journals of runs that were cut short; what `llama-bench -o json` or
    /// `mlx_lm.benchmark` wrote goes in as rows that are marked as external, what an adapter's
    /// `cargo bench --bench ops` left in target/criterion/mlxbench-ops/ as charts of where the time goes, and what
    /// `mlxbench ops --format json` printed as a matrix of which operations work, machines side by side.
    #[arg(required_unless_present = "splice")]
    results: Vec<PathBuf>,
    /// Write to FILE in place of stdout; its ending decides the format. For svg and png a folder,
    /// which gets a file a chart.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// html, text, md, csv, json, tex (booktabs), svg or png; for llama.cpp's tools llama-bench-json,
    /// llama-bench-md or sql (for compare-llama-bench.py); bencher (Bencher's JSON); for
    /// github-action-benchmark bigger-is-better (rates) or smaller-is-better (times, memory).
    #[arg(long)]
    format: Option<String>,
    /// Write the tables in DOC again, each between `<!-- mlxbench: RESULT.json -->` and
    /// `<!-- /mlxbench -->`; RESULT.json is looked for from DOC's folder.
    #[arg(long, value_name = "DOC", conflicts_with_all = ["results", "output", "format"])]
    splice: Option<PathBuf>,
    /// Write nothing: exit 1 if DOC's tables aren't those of its results.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    if let Some(document) = &args.splice {
        return splice(document, args.check);
    }
    if args.check {
        bail!("--check looks at a document: name it with --splice DOC");
    }
    let form = form(&args)?;
    let mut outputs = Outputs::beside(args.results.iter().map(PathBuf::as_path));
    if let (Form::Document(format), Some(path)) = (&form, &args.output) {
        outputs.claim(path, Kind::Report(Written::Report(*format)))?;
    }
    let count = args.results.len();
    if count > MOST_SHOWN && !matches!(form, Form::Document(format) if format.is_data()) {
        bail!(
            "{count} files are too many: {MOST_SHOWN} are shown side by side at most. \
             `mlxbench history FOLDER` shows how results changed over time, and --format csv or json takes more"
        );
    }
    let (results, mut beside) = read(&args.results)?;
    beside.next = page_command(&args.results);
    let takes_others = matches!(form, Form::Document(format) if format.takes_others());
    if let Some(other) = beside.others.first().filter(|_| !takes_others) {
        bail!(
            "{}: rows of other programs go into html, md and text only: leave it out",
            other.file
        );
    }
    if let Some(matrix) = beside.matrices.first().filter(|_| !takes_others) {
        bail!(
            "which operations work on the {} goes into html, md and text only: leave it out",
            matrix.machine.cpu
        );
    }
    let on_page = matches!(form, Form::Document(Format::Html));
    if let Some(breakdown) = beside.breakdowns.first().filter(|_| !on_page) {
        bail!(
            "{}: where the time goes is shown in html only: leave it out",
            breakdown.file
        );
    }
    let format = match form {
        Form::Charts(picture) => {
            return charts(&results, picture, args.output.as_deref(), outputs);
        }
        Form::Document(format) => format,
    };
    let bytes = mlxbench_report::render(&results, &beside, format);
    match &args.output {
        Some(path) => outfile::replace(path, &bytes)?,
        None => print(&bytes)?,
    }
    Ok(Exit::Fine)
}

/// How to get the page of results that lie in these files.
fn page_command(files: &[PathBuf]) -> Option<String> {
    let names: Vec<String> = files.iter().map(|file| quoted(file)).collect();
    let first = files.first()?;
    let folder = first.parent().and_then(Path::file_name);
    let stem = folder.or_else(|| first.file_stem())?.to_string_lossy();
    let page = quoted(Path::new(&format!("{stem}.html")));
    Some(format!("mlxbench report {} -o {page}", names.join(" ")))
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    match shlex::try_quote(&path) {
        Ok(quoted) => quoted.into_owned(),
        // No path has a NUL.
        Err(_) => path,
    }
}

/// What is to be written.
enum Form {
    /// One document.
    Document(Format),
    /// A file a chart.
    Charts(Picture),
}

/// What `--format` says; the output's ending, where it doesn't.
fn form(args: &Args) -> anyhow::Result<Form> {
    let ending = args
        .output
        .as_ref()
        .and_then(|path| path.extension()?.to_str());
    if let (None, Some(ending @ ("svg" | "png"))) = (&args.format, ending) {
        bail!("charts are a file each: write --format {ending} -o DIR");
    }
    Ok(match args.format.as_deref().or(ending) {
        Some("svg") => Form::Charts(Picture::Svg),
        Some("png") => Form::Charts(Picture::Png),
        None | Some("text" | "txt") => {
            let width = match args.output {
                Some(_) => None,
                None => terminal_width(),
            };
            Form::Document(Format::Terminal { width })
        }
        Some(name) => Form::Document(name.parse().map_err(anyhow::Error::msg)?),
    })
}

/// What a file holds.
enum Input {
    Result(Box<RunResult>),
    Other(External),
    Breakdown(Breakdown),
    Matrix(Matrix),
}

/// Our own results, and what stands beside them.
fn read(paths: &[PathBuf]) -> anyhow::Result<(Vec<RunResult>, Beside)> {
    let (mut results, mut beside) = (Vec::new(), Beside::default());
    // The first error in the order of the files, whichever thread was quicker.
    let inputs: Vec<anyhow::Result<Input>> = paths.par_iter().map(|path| input(path)).collect();
    for input in inputs {
        match input? {
            Input::Result(result) => results.push(*result),
            Input::Other(external) => beside.others.push(external),
            Input::Breakdown(breakdown) => beside.breakdowns.push(breakdown),
            Input::Matrix(matrix) => beside.matrices.push(matrix),
        }
    }
    external::tell_apart(&mut beside.others);
    Ok((results, beside))
}

fn input(path: &Path) -> anyhow::Result<Input> {
    let error = match journal::read(path) {
        Ok(result) => return Ok(Input::Result(Box::new(result))),
        Err(error) => error,
    };
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let name = path.display().to_string();
    // It lies in a folder beside criterion's own.
    let criterion = path
        .parent()
        .map_or_else(PathBuf::new, |own| own.join(".."));
    let estimates = |file: &str| fs::read(criterion.join(file));
    if let Some(breakdown) = Breakdown::read(&name, &bytes, estimates)? {
        return Ok(Input::Breakdown(breakdown));
    }
    if let Some(matrix) = super::ops::matrix(&name, &bytes)? {
        return Ok(Input::Matrix(matrix));
    }
    if let Some(external) = external::read(&name, &bytes)? {
        return Ok(Input::Other(external));
    }
    if external::is_utf16(&bytes) {
        bail!(
            "{name} is UTF-16, as PowerShell's `>` writes it: results are read in UTF-8; write them \
             with -o FILE, or convert the file"
        );
    }
    bail!(
        "{error}; nor is it what llama-bench -o json, mlx_lm.benchmark or mlxbench ops --format json writes"
    )
}

/// Writes a file a chart into `folder`, which is made where it is missing.
fn charts(
    results: &[RunResult],
    picture: Picture,
    folder: Option<&Path>,
    mut outputs: Outputs,
) -> anyhow::Result<Exit> {
    let Some(folder) = folder else {
        bail!("charts are a file each: say into which folder with -o DIR");
    };
    let files = mlxbench_report::charts(results, picture)?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // All or none: half of the charts would be of another result.
    for file in &files {
        let kind = Kind::Report(Written::Chart(picture));
        outputs.claim(&folder.join(&file.name), kind)?;
    }
    let mut written = String::new();
    for file in &files {
        let path = folder.join(&file.name);
        outfile::replace(&path, &file.bytes)?;
        writeln!(written, "{}", path.display())?;
    }
    print(written.as_bytes())?;
    if files.is_empty() {
        tell("no chart was written: nothing was measured");
    }
    Ok(Exit::Fine)
}

fn splice(document: &Path, check: bool) -> anyhow::Result<Exit> {
    let shown = document.display();
    let text = fs::read_to_string(document).with_context(|| shown.to_string())?;
    let folder = document.parent().unwrap_or(Path::new(""));
    let spliced = mlxbench_report::splice(&text, |name| journal::read(&folder.join(name)))
        .with_context(|| shown.to_string())?;
    if spliced == text {
        return Ok(Exit::Fine);
    }
    if check {
        tell(format_args!(
            "{shown} is stale: run `mlxbench report --splice {shown}`"
        ));
        return Ok(Exit::Regression);
    }
    outfile::replace(document, spliced.as_bytes())?;
    Ok(Exit::Fine)
}
