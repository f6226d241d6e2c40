//! `mlxbench doctor`: which backends, devices and dtypes can be used here, and why not the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mlxbench_core::backend::PrecisionSupport;
use mlxbench_core::protocol::Hello;
use mlxbench_core::results::{Conditions, Machine, PowerSource};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::locate::worker_command;
use mlxbench_runner::process::Worker;
use mlxbench_runner::system;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::print;

/// The backends that mlxbench comes with.
const BACKENDS: [&str; 3] = ["candle", "tch", "mlx"];
const PREFIX: &str = "mlxbench-worker-";
/// How long power is looked at.
const POWER_TIME: Duration = Duration::from_millis(500);
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
    conditions: Conditions,
    /// Drawn now.
    power_watts: Option<f64>,
    /// Why that can't be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    power_unknown: Option<String>,
    backends: BTreeMap<String, Backend>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Backend {
    Usable(Hello),
    Missing(String),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    let ask = |backend: &str| -> Result<Hello, String> {
        let command = worker_command(backend, None)?;
        let mut worker = Worker::start(&command, TIMEOUT, interrupt.clone())
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
    let power = system::Meter::open().and_then(|mut meter| {
        watts(&mut meter).ok_or_else(|| "the counters can't be read any more".to_owned())
    });
    let findings = Findings {
        backends: backends.collect(),
        mlxbench: super::harness(),
        machine: system::machine(),
        conditions: system::conditions(),
        power_watts: power.as_ref().ok().copied(),
        power_unknown: power.err(),
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&findings)?)
    } else {
        describe(&findings)?
    };
    print(text.as_bytes())?;
    Ok(Exit::Fine)
}

/// Mean watts over [`POWER_TIME`], which this waits for.
fn watts(meter: &mut system::Meter) -> Option<f64> {
    let (before, start) = (meter.joules()?, Instant::now());
    thread::sleep(POWER_TIME);
    Some((meter.joules()? - before) / start.elapsed().as_secs_f64())
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

/// Precisions that can be used, and those that can't for the same reason, together.
fn alike(precisions: &[PrecisionSupport]) -> Vec<(Vec<String>, Option<&str>)> {
    let mut groups: Vec<(Vec<String>, Option<&str>)> = Vec::new();
    for PrecisionSupport {
        precision,
        unsupported,
    } in precisions
    {
        let (name, reason) = (precision.to_string(), unsupported.as_deref());
        match groups.iter_mut().find(|(_, known)| *known == reason) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], reason)),
        }
    }
    groups
}

fn describe(findings: &Findings) -> Result<String, std::fmt::Error> {
    let Findings {
        mlxbench,
        machine,
        conditions,
        power_watts,
        power_unknown,
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
    if let Some(performance) = machine.performance_cores {
        writeln!(text, "{performance} performance cores")?;
    }
    if let Some(gpu) = &machine.gpu {
        let cores = gpu.cores.map(|cores| format!(", {cores} cores"));
        writeln!(text, "GPU: {}{}", gpu.name, cores.unwrap_or_default())?;
    }
    match conditions.power_source {
        Some(PowerSource::Battery) => writeln!(text, "on battery")?,
        Some(PowerSource::Mains) => writeln!(text, "on mains power")?,
        None => {}
    }
    if conditions.low_power_mode == Some(true) {
        writeln!(text, "in low-power mode")?;
    }
    if let Some(pressure) = &conditions.thermal_pressure {
        writeln!(text, "thermal pressure: {pressure}")?;
    }
    if let Some(watts) = power_watts {
        writeln!(text, "power: {watts:.1} W")?;
    }
    if let Some(reason) = power_unknown {
        writeln!(text, "power: unknown: {reason}")?;
    }
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
                    for (precisions, unsupported) in alike(&support.precisions) {
                        let verdict = match unsupported {
                            Some(reason) => format!("no: {reason}"),
                            None => "yes".into(),
                        };
                        writeln!(text, "    {}: {verdict}", precisions.join(", "))?;
                    }
                }
            }
        }
    }
    Ok(text)
}
