//! `mlxbench doctor`: what can be measured here, what is missing, and the command that mends it.

mod advice;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use mlxbench_core::Device;
use mlxbench_core::backend::PrecisionSupport;
use mlxbench_core::results::{Conditions, Machine, PowerSource};
use mlxbench_models::{cache, disk};
use mlxbench_runner::fit::{CONTEXT, Fit, fits};
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::system::gauge::Reading;
use mlxbench_runner::system::{self, Survey};
use serde::Serialize;

use super::backends::{Backend, all, ask};
use crate::exit::Exit;
use crate::output::{print, size};
use advice::{Advice, missing, unsteady};

/// How long each device's meter is looked at: some are updated ten times a second.
const POWER_TIME: Duration = Duration::from_secs(1);

/// Show what can be measured on this machine, what is missing, and how to get it. `mlxbench ops` tries which operations work on its devices.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mlxbench doctor
  mlxbench doctor --check && mlxbench run bench-configs/quick.toml")]
pub(crate) struct Args {
    /// Exit with 1 when something is missing.
    #[arg(long)]
    check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    mlxbench: mlxbench_core::results::Harness,
    machine: Machine,
    conditions: Conditions,
    /// Memory that programs could be given now.
    available_memory_bytes: Option<u64>,
    /// Room for models that are made.
    free_disk_bytes: Option<u64>,
    backends: BTreeMap<String, Backend>,
    /// What meters and sensors tell of each backend's devices.
    devices: BTreeMap<String, Survey>,
    /// The largest preset in a few precisions.
    fits: Vec<Fit>,
    /// What isn't there, and how to get it.
    missing: Vec<Advice>,
    /// What makes figures unsteady.
    unsteady: Vec<Advice>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    // Before workers are started, which are a load of their own.
    let conditions = system::conditions();
    let available_memory_bytes = system::available_memory_bytes();
    let backends = ask(all(), &interrupt);
    let machine = system::machine();
    let cache = cache::folder().ok();
    let findings = Findings {
        devices: devices(&backends),
        missing: missing(&backends),
        unsteady: unsteady(&conditions),
        backends,
        mlxbench: super::harness(),
        fits: fits(machine.memory_bytes),
        machine,
        conditions,
        available_memory_bytes,
        free_disk_bytes: cache.as_deref().and_then(disk::free_bytes),
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&findings)?)
    } else {
        describe(&findings)?
    };
    print(text.as_bytes())?;
    Ok(match args.check && !findings.missing.is_empty() {
        true => Exit::Regression,
        false => Exit::Fine,
    })
}

/// What can be read of the devices that the backends found.
fn devices(backends: &BTreeMap<String, Backend>) -> BTreeMap<String, Survey> {
    let usable = backends.values().filter_map(Backend::usable);
    let found = usable
        .flat_map(|hello| &hello.devices)
        .map(|support| support.device.hardware());
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
    let mut text = String::new();
    let build = &findings.mlxbench;
    let commit = build.commit.as_deref().unwrap_or("unknown commit");
    writeln!(
        text,
        "mlxbench {} ({commit}, {})",
        build.version, build.profile
    )?;
    of_machine(&mut text, findings)?;
    for (device, survey) in &findings.devices {
        writeln!(text, "{device}")?;
        for line in told(survey) {
            writeln!(text, "  {line}")?;
        }
    }
    for (name, backend) in &findings.backends {
        of_backend(&mut text, name, backend)?;
    }
    writeln!(
        text,
        "\nlargest that fits, with {CONTEXT} tokens of context:"
    )?;
    for Fit { precision, largest } in &findings.fits {
        let largest = largest
            .as_ref()
            .map(|model| format!("{} ({})", model.preset, size(model.needed_bytes)));
        let largest = largest.as_deref().unwrap_or("none");
        writeln!(text, "  {:<8} {largest}", precision.to_string())?;
    }
    writeln!(text)?;
    for (what, advice) in [
        ("missing", &findings.missing),
        ("unsteady", &findings.unsteady),
    ] {
        for Advice { problem, remedy } in advice {
            let remedy = remedy.as_ref().map(|remedy| format!("\n  {remedy}"));
            writeln!(text, "{what}: {problem}{}", remedy.unwrap_or_default())?;
        }
    }
    if findings.missing.is_empty() {
        writeln!(text, "nothing is missing")?;
    }
    writeln!(
        text,
        "mlxbench ops tries which operations work on these devices"
    )?;
    Ok(text)
}

fn of_machine(text: &mut String, findings: &Findings) -> std::fmt::Result {
    let Findings {
        machine,
        conditions,
        ..
    } = findings;
    writeln!(
        text,
        "{} on {}, {} cores, {}",
        machine.cpu,
        machine.os,
        machine.physical_cores.unwrap_or(machine.logical_cores),
        size(machine.memory_bytes)
    )?;
    if let Some(performance) = machine.performance_cores {
        writeln!(text, "{performance} performance cores")?;
    }
    if let Some(gpu) = &machine.gpu {
        let cores = gpu.cores.map(|cores| format!(", {cores} cores"));
        writeln!(text, "GPU: {}{}", gpu.name, cores.unwrap_or_default())?;
    }
    let unknown = || "unknown".to_owned();
    let bytes = |bytes: Option<u64>| bytes.map_or_else(unknown, size);
    let busy = conditions
        .cpu_busy
        .map(|share| format!("{:.0} %", 100.0 * share));
    let power = conditions.power_source.map(|source| match source {
        PowerSource::Battery => "battery".to_owned(),
        PowerSource::Mains => "mains".to_owned(),
    });
    let low = conditions
        .low_power_mode
        .map(|on| if on { "on" } else { "off" }.to_owned());
    let state = [
        ("memory available", bytes(findings.available_memory_bytes)),
        ("disk free for models", bytes(findings.free_disk_bytes)),
        ("CPU busy", busy.unwrap_or_else(unknown)),
        (
            "governor",
            conditions
                .frequency_governor
                .clone()
                .unwrap_or_else(unknown),
        ),
        ("power source", power.unwrap_or_else(unknown)),
        ("low-power mode", low.unwrap_or_else(unknown)),
        (
            "thermal pressure",
            conditions.thermal_pressure.clone().unwrap_or_else(unknown),
        ),
    ];
    let state = state.map(|(what, value)| format!("{what} {value}"));
    let (room, condition) = state.split_at(2);
    writeln!(text, "{}\n{}", room.join(", "), condition.join(", "))
}

fn of_backend(text: &mut String, name: &str, backend: &Backend) -> std::fmt::Result {
    let hello = match backend {
        Backend::Missing(reason) => return writeln!(text, "\n{name}: not usable: {reason}"),
        Backend::Usable(hello) => hello,
    };
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
        writeln!(
            text,
            "{}",
            format!("  {} {description}", support.device).trim_end()
        )?;
        for (precisions, unsupported) in alike(&support.precisions) {
            let verdict = match unsupported {
                Some(reason) => format!("no: {reason}"),
                None => "yes".into(),
            };
            writeln!(text, "    {}: {verdict}", precisions.join(", "))?;
        }
    }
    Ok(())
}
