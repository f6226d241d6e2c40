//! `mlxbench doctor`: which backends, devices and dtypes can be used here, and why not the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use mlxbench_core::Device;
use mlxbench_core::backend::PrecisionSupport;
use mlxbench_core::protocol::Hello;
use mlxbench_core::results::{Conditions, Machine, PowerSource};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::locate::worker_command;
use mlxbench_runner::process::Worker;
use mlxbench_runner::system::gauge::Reading;
use mlxbench_runner::system::{self, Survey};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::print;

/// The backends that mlxbench comes with.
pub(super) const BACKENDS: [&str; 3] = ["candle", "tch", "mlx"];
const PREFIX: &str = "mlxbench-worker-";
/// How long each device's meter is looked at: some are updated ten times a second.
const POWER_TIME: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(120);

/// Show what can be measured on this machine. `mlxbench ops` tries which operations work on its devices.
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
    backends: BTreeMap<String, Backend>,
    /// What meters and sensors tell of each backend's devices.
    devices: BTreeMap<String, Survey>,
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
    let backends: BTreeMap<String, Backend> = backends.collect();
    let findings = Findings {
        devices: devices(&backends),
        backends,
        mlxbench: super::harness(),
        machine: system::machine(),
        conditions: system::conditions(),
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&findings)?)
    } else {
        describe(&findings)?
    };
    print(text.as_bytes())?;
    Ok(Exit::Fine)
}

/// What can be read of the devices that the backends found.
fn devices(backends: &BTreeMap<String, Backend>) -> BTreeMap<String, Survey> {
    let usable = backends.values().filter_map(|backend| match backend {
        Backend::Usable(hello) => Some(&hello.devices),
        Backend::Missing(_) => None,
    });
    let found = usable.flatten().map(|support| support.device.hardware());
    let found: BTreeSet<Device> = found.chain([Device::cpu()]).collect();
    let surveyed = found.into_iter();
    surveyed
        .map(|device| (device.to_string(), system::survey(&device, POWER_TIME)))
        .collect()
}

/// What is read of a device, and why the rest isn't.
fn told(survey: &Survey) -> Vec<String> {
    let energy = match (&survey.meter, &survey.energy_unavailable) {
        (Some(meter), _) => {
            let watts = match survey.watts {
                Some(watts) => format!(", {watts:.1} W now"),
                None => ", which can't be read".to_owned(),
            };
            let period = survey.meter_period_ms;
            let period = period.map(|ms| format!(", seen to change every {ms:.0} ms"));
            format!("energy: {meter}{watts}{}", period.unwrap_or_default())
        }
        (None, reason) => format!(
            "energy: unavailable: {}",
            reason.as_deref().unwrap_or_default()
        ),
    };
    let sensors = match (&survey.sensors, &survey.reading) {
        (Some(sensors), Some(reading)) => format!("sensors: {sensors}: {}", words(reading)),
        _ => {
            let reason = survey.sensors_unavailable.as_deref();
            format!("sensors: unavailable: {}", reason.unwrap_or_default())
        }
    };
    vec![energy, sensors]
}

/// Each quantity, or that it can't be read.
fn words(reading: &Reading) -> String {
    let known = |what: &str, value: Option<String>| match value {
        Some(value) => format!("{what} {value}"),
        None => format!("{what} unknown"),
    };
    let mhz = |clock: Option<u32>| clock.map(|mhz| format!("{mhz} MHz"));
    let celsius = reading.temperature_celsius;
    let reasons = reading.throttle_reasons.as_ref().map(|reasons| {
        let names: Vec<&str> = reasons.iter().map(|reason| reason.name()).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    });
    [
        known("power", reading.watts.map(|watts| format!("{watts:.1} W"))),
        known("clock", mhz(reading.clock_mhz)),
        known("memory clock", mhz(reading.memory_clock_mhz)),
        known(
            "temperature",
            celsius.map(|celsius| format!("{celsius:.0} °C")),
        ),
        known("throttle reasons", reasons),
    ]
    .join(", ")
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
        backends,
        devices,
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
    for (device, survey) in devices {
        writeln!(text, "{device}")?;
        for line in told(survey) {
            writeln!(text, "  {line}")?;
        }
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
    writeln!(
        text,
        "\nmlxbench ops tries which operations work on these devices"
    )?;
    Ok(text)
}
