//! `mlxbench doctor`: which backends, devices and dtypes can be used here, and why not the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use mlxbench_core::protocol::Hello;
use mlxbench_core::results::Machine;
use mlxbench_runner::locate::worker_command;
use mlxbench_runner::process::{Interrupt, Worker};
use mlxbench_runner::system;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::print;

/// The backends that mlxbench comes with.
const BACKENDS: [&str; 3] = ["candle", "tch", "mlx"];
const PREFIX: &str = "mlxbench-worker-";
const TIMEOUT: Duration = Duration::from_secs(120);

/// Show what can be measured on this machine.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench doctor --json")]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    mlxbench: mlxbench_core::results::Harness,
    machine: Machine,
    backends: BTreeMap<String, Backend>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Backend {
    Usable(Hello),
    Missing(String),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let ask = |backend: &str| -> Result<Hello, String> {
        let command = worker_command(backend, None)?;
        let mut worker = Worker::start(&command, TIMEOUT, Interrupt::default())
            .map_err(|error| error.to_string())?;
        worker.hello().map_err(|error| error.to_string())
    };
    let names: BTreeSet<String> = BACKENDS
        .map(str::to_owned)
        .into_iter()
        .chain(others())
        .collect();
    let backends = names.into_iter().map(|name| {
        let found = ask(&name).map_or_else(Backend::Missing, Backend::Usable);
        (name, found)
    });
    let findings = Findings {
        backends: backends.collect(),
        mlxbench: super::harness(),
        machine: system::machine(),
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&findings)?)
    } else {
        describe(&findings)?
    };
    print(text.as_bytes())?;
    Ok(Exit::Fine)
}

/// Workers beside the executable that mlxbench doesn't come with.
fn others() -> Vec<String> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let entries = beside.and_then(|folder: PathBuf| std::fs::read_dir(folder).ok());
    let files = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    files
        .filter_map(|name| name.to_str()?.strip_prefix(PREFIX).map(str::to_owned))
        .filter(|name| !name.contains('.'))
        .collect()
}

fn describe(findings: &Findings) -> Result<String, std::fmt::Error> {
    let Findings {
        mlxbench,
        machine,
        backends,
    } = findings;
    let mut text = String::new();
    let commit = mlxbench.commit.as_deref().unwrap_or("unknown commit");
    writeln!(
        text,
        "mlxbench {} ({commit}, {})",
        mlxbench.version, mlxbench.profile
    )?;
    writeln!(
        text,
        "{} on {}, {} cores, {}",
        machine.cpu,
        machine.os,
        machine.physical_cores.unwrap_or(machine.logical_cores),
        humansize::format_size(machine.memory_bytes, humansize::BINARY)
    )?;
    for (name, backend) in backends {
        match backend {
            Backend::Missing(reason) => writeln!(text, "\n{name}: not usable: {reason}")?,
            Backend::Usable(hello) => {
                let identity = &hello.identity;
                write!(
                    text,
                    "\n{name}: {} {}",
                    identity.framework, identity.version
                )?;
                for (library, version) in &identity.libraries {
                    write!(text, ", {library} {version}")?;
                }
                writeln!(text)?;
                for support in &hello.devices {
                    let description = support.description.as_deref().unwrap_or_default();
                    writeln!(text, "  {} {description}", support.device)?;
                    for dtype in &support.dtypes {
                        let verdict = match &dtype.unsupported {
                            Some(reason) => format!("no: {reason}"),
                            None => "yes".into(),
                        };
                        writeln!(text, "    {:<5} {verdict}", dtype.dtype)?;
                    }
                }
            }
        }
    }
    Ok(text)
}
