//! `mlxbench ops`: which operations work on this machine's devices, by trying; and machines side by side.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use mlxbench_core::text::tell;
use mlxbench_core::trial::{ElementType, Matrix, Outcome};
use mlxbench_core::{Device, limits};
use mlxbench_report::{Format, Written, trials_page, trials_text};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::trials::{Asked, try_all};

use super::backends::BACKENDS;
use crate::exit::Exit;
use crate::outfile::{self, Kind, Outputs};
use crate::output::print;

/// Try which operations work on this machine's devices, dtype by dtype; or show what was found on several
/// machines, side by side.
///
/// Each operation that Gemma needs is run by the framework's own function and held against plain Rust in f64:
/// it is `ok`, `wrong` (by how much is told), `missing` (in the framework's words) or `crashes`. A crash or a hang
/// costs one cell; a device is given up after three hangs in a row, or where it is gone after a crash.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench ops                                       # all backends and devices
  mlxbench ops --backend tch --device mps --op cumsum
  mlxbench ops --format json > mac.json              # to be laid beside another machine's
  mlxbench ops mac.json h100.json -o ops.html

Exit codes: 0 where all that was tried is ok or missing, 3 where anything is wrong or
crashes or a worker or a device was given up, 2 where nothing could be tried, 130 where
it was interrupted: what was found until then is printed.")]
pub(crate) struct Args {
    /// What `ops --format json` printed, of one machine each: shown side by side, and nothing is tried.
    #[arg(value_name = "FILE.json", conflicts_with_all = ["backend", "device", "dtype", "op", "timeout"])]
    files: Vec<PathBuf>,
    /// candle, tch, mlx, or any worker called mlxbench-worker-B; these three when left out.
    #[arg(long, value_name = "B", value_delimiter = ',')]
    backend: Vec<String>,
    /// The devices; all that a backend finds when left out.
    #[arg(long, value_name = "D", value_delimiter = ',')]
    device: Vec<Device>,
    /// i64, f32, bf16 or f16; all of them when left out.
    #[arg(long, value_name = "T", value_delimiter = ',')]
    dtype: Vec<ElementType>,
    /// Only operations whose name contains this.
    #[arg(long, value_name = "PATTERN")]
    op: Option<String>,
    /// How long a trial may take; the first one of a process starts its device, too.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = timeout)]
    timeout: Duration,
    /// text, json (of one machine) or html; by the output's ending when left out, else text.
    #[arg(long)]
    format: Option<Form>,
    /// A file to write, in place of stdout, for html and json.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Bytes of a matrix's file at most: some hundred times what is printed here.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Tables of 80 columns.
    #[value(alias = "table")]
    Text,
    /// All that was found, for scripts and for other machines.
    Json,
    /// A page.
    Html,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let form = form(args)?;
    let mut outputs = Outputs::beside(args.files.iter().map(PathBuf::as_path));
    if let Some(path) = &args.output {
        let kind = match form {
            Form::Html => Written::Report(Format::Html),
            Form::Json => Written::Matrix,
            Form::Text => bail!("-o writes html and json: send text there with `>`"),
        };
        outputs.claim(path, Kind::Report(kind))?;
    }
    let (matrices, exit) = match args.files.is_empty() {
        false => {
            let read = args.files.iter().map(|path| read(path));
            (read.collect::<anyhow::Result<Vec<_>>>()?, Exit::Fine)
        }
        true => {
            let matrix = on_this_machine(args)?;
            let exit = exit(&matrix);
            if matrix.interrupted && matrix.cells().next().is_none() {
                return Ok(exit);
            }
            (vec![matrix], exit)
        }
    };
    let bytes = match form {
        Form::Text => trials_text(&matrices).into_bytes(),
        Form::Html => trials_page(&matrices),
        Form::Json => format!("{}\n", serde_json::to_string_pretty(&matrices[0])?).into_bytes(),
    };
    match &args.output {
        Some(path) => outfile::replace(path, &bytes)?,
        None => print(&bytes)?,
    }
    Ok(exit)
}

fn timeout(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of seconds"))?;
    match seconds > 0.0 {
        true => limits::seconds("the time", seconds),
        false => Err("a trial needs some time: write a number above 0".into()),
    }
}

fn form(args: &Args) -> anyhow::Result<Form> {
    let ending = args
        .output
        .as_ref()
        .and_then(|path| path.extension()?.to_str());
    let form = match (args.format, &args.output, ending) {
        (Some(form), ..) => form,
        (None, None, _) => Form::Text,
        (None, _, Some("json")) => Form::Json,
        (None, _, Some("html" | "htm")) => Form::Html,
        _ => bail!("-o names a file that ends in .html or .json: or say which with --format"),
    };
    if form == Form::Json && args.files.len() > 1 {
        bail!("--format json is of one machine: several go into text and html");
    }
    Ok(form)
}

fn read(path: &Path) -> anyhow::Result<Matrix> {
    let of_path = || path.display().to_string();
    let mut text = String::new();
    let file = File::open(path).with_context(of_path)?;
    let mut file = file.take(LARGEST + 1);
    file.read_to_string(&mut text).with_context(of_path)?;
    if text.len() as u64 > LARGEST {
        bail!(
            "{}: larger than {LARGEST} bytes, which no matrix is",
            of_path()
        );
    }
    Matrix::from_json(&text).map_err(|message| anyhow!("{}: {message}", path.display()))
}

/// The matrix in `bytes`, which lie in the file `name`; `None` where something else lies there.
///
/// # Errors
/// When it is a matrix that can't be read.
pub(super) fn matrix(name: &str, bytes: &[u8]) -> anyhow::Result<Option<Matrix>> {
    let text = std::str::from_utf8(bytes).ok();
    let text = text.filter(|text| Matrix::is_one(text));
    let matrix = text.map(Matrix::from_json).transpose();
    matrix.map_err(|message| anyhow!("{name}: {message}"))
}

fn on_this_machine(args: &Args) -> anyhow::Result<Matrix> {
    let asked = Asked {
        devices: args.device.clone(),
        elements: match args.dtype.is_empty() {
            true => ElementType::ALL.into(),
            false => args.dtype.clone(),
        },
        filter: args.op.clone(),
        timeout: args.timeout,
    };
    if asked.cells().is_empty() {
        let all = Asked {
            filter: None,
            ..asked
        };
        let mut names: Vec<&str> = all.cells().iter().map(|(case, _)| case.name).collect();
        names.dedup();
        bail!(
            "no operation of these dtypes is called so: there are {}",
            names.join(", ")
        );
    }
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    let names: Vec<String> = match args.backend.is_empty() {
        true => BACKENDS.map(str::to_owned).into(),
        false => args.backend.clone(),
    };
    let observe = &mut |line: &str| tell(line);
    let matrix = try_all(&names, &asked, super::harness(), &interrupt, observe);
    let backends = &matrix.backends;
    if !matrix.interrupted && backends.iter().all(|of| of.devices.is_empty()) {
        let reasons = backends.iter().filter_map(|of| {
            let reason = of.untried.as_deref().or(of.fault.as_deref())?;
            Some(format!("{}: {reason}", of.backend))
        });
        bail!(
            "nothing could be tried: {}",
            reasons.collect::<Vec<_>>().join("; ")
        );
    }
    Ok(matrix)
}

fn exit(matrix: &Matrix) -> Exit {
    let bad =
        |outcome: &Outcome| matches!(outcome, Outcome::Wrong { .. } | Outcome::Crashes { .. });
    let is_bad = matrix.cells().any(|(_, _, cell)| bad(&cell.outcome));
    match matrix.interrupted {
        true => Exit::Interrupted,
        false if is_bad || matrix.given_up().next().is_some() => Exit::Degraded,
        false => Exit::Fine,
    }
}
