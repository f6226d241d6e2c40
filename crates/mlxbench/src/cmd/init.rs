//! `mlxbench init`: a config for this machine, with comments that say what else it may hold.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mlxbench_core::backend::DeviceSupport;
use mlxbench_core::protocol::Hello;
use mlxbench_core::results::Machine;
use mlxbench_core::text::tell;
use mlxbench_runner::config::Config;
use mlxbench_runner::fit::first_model;
use mlxbench_runner::interrupt::Interrupt;
use mlxbench_runner::system;

use super::backends::{BACKENDS, ask};
use super::report::quoted;
use crate::exit::Exit;
use crate::outfile;
use crate::output::{print, size};

/// Write a commented config for this machine: what doctor finds, and a model that fits.
#[derive(clap::Args)]
#[command(after_help = "Example:
  mlxbench init && mlxbench run mlxbench.toml --dry-run")]
pub(crate) struct Args {
    /// The file to write; its results go to the folder of its name.
    #[arg(default_value = "mlxbench.toml")]
    file: PathBuf,
    /// Replace the file where it is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let shown = args.file.display();
    let refuse = || -> anyhow::Result<()> {
        if args.file.symlink_metadata().is_ok() && !args.force {
            bail!("{shown} is there: it was left alone; --force replaces it, or name another file");
        }
        Ok(())
    };
    refuse()?;
    let interrupt = Interrupt::default();
    super::set_on_signals(&interrupt)?;
    let name = name_of(&args.file)?;
    let mut backends = ask(BACKENDS.map(str::to_owned), &interrupt);
    let usable = BACKENDS.iter().filter_map(|name| {
        let (_, backend) = backends.remove_entry(*name)?;
        Some((*name, backend.usable()?.clone()))
    });
    let usable: Vec<(&str, Hello)> = usable.collect();
    if usable.is_empty() {
        bail!("no framework can be used here: `mlxbench doctor` says why, and what to do");
    }
    let text = config(&name, &system::machine(), &usable);
    Config::parse(&text)
        .map_err(anyhow::Error::msg)
        .context("the config that was to be written")?;
    // The workers took their time.
    refuse()?;
    outfile::replace(&args.file, text.as_bytes())?;
    print(format!("{shown}\n").as_bytes())?;
    let quoted = quoted(&args.file);
    tell(format_args!(
        "next: mlxbench run {quoted} --dry-run   # what it would do; without --dry-run it does it"
    ));
    Ok(Exit::Fine)
}

/// The config's name: its file's, as far as a folder may be called so.
fn name_of(file: &Path) -> anyhow::Result<String> {
    let stem = file
        .file_stem()
        .context("name a file, such as mlxbench.toml")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    Ok(stem.to_string_lossy().replace(|c| !plain(c), "-"))
}

/// The text of the config.
fn config(name: &str, machine: &Machine, backends: &[(&str, Hello)]) -> String {
    let is_accelerator = |support: &DeviceSupport| support.device.kind() != "cpu";
    let mut devices = backends.iter().flat_map(|(_, hello)| &hello.devices);
    let accelerated = devices.any(is_accelerator);
    let first = first_model(machine.memory_bytes, accelerated);
    let (preset, hub) = (first.name, first.hub);
    let (prompt, generate) = if accelerated { (512, 128) } else { (128, 32) };
    let memory = size(machine.memory_bytes);
    let cpu = machine.cpu.replace(char::is_control, " ");
    let mut text = format!(
        r#"# For {cpu}, {memory}; written by `mlxbench init`.
#   mlxbench run FILE --dry-run    says what would run, how long about and how much memory
#   mlxbench run FILE              measures, and writes results/{name}/
name = "{name}"

[model]
# Random weights in the exact shapes of a real Gemma: nothing to download, and the same work.
# `mlxbench model list` has the others, `mlxbench doctor` says which fit.
source = "synthetic:{preset}"
# source = "hf:{hub}"    # the real one: accept its terms on the hub, and set HF_TOKEN
# source = "path/of/a/folder"
# source = "gguf:FILE.gguf"

# [measure]
# repetitions = 6                  # of each test
# processes = 3                    # that they are spread over
# interval_percent = 2             # or repeat until intervals are so narrow,
# max_seconds = 60                 # but no longer than this a test

[[test]]
prompt_tokens = {prompt}                # a list makes a test of each: [128, 512, 2048]
generate_tokens = {generate}
# depth = 4096                     # tokens in the cache before
# batch = 2                        # rows
"#
    );
    for (backend, hello) in backends {
        for (at, support) in hello.devices.iter().enumerate() {
            let target = target(backend, support, accelerated);
            // The best device of each is measured; the others are there to be switched on.
            let begin = if at == 0 { "" } else { "# " };
            text.push('\n');
            for line in target.lines() {
                writeln!(text, "{begin}{line}").expect("a String takes every write");
            }
        }
    }
    text
}

/// A target on a device, in bf16 where frameworks are compared on accelerators, else in f32.
fn target(backend: &str, support: &DeviceSupport, accelerated: bool) -> String {
    let usable = support
        .precisions
        .iter()
        .filter(|known| known.unsupported.is_none());
    let names: Vec<String> = usable.map(|known| known.precision.to_string()).collect();
    let wanted = if accelerated { "bf16" } else { "f32" };
    let chosen = names.iter().find(|name| *name == wanted).or(names.first());
    let chosen = chosen.map_or(wanted, String::as_str);
    let others: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != chosen)
        .collect();
    format!(
        "[[target]]\nbackend = \"{backend}\"\ndevice = \"{}\"\ndtypes = [\"{chosen}\"]\n# here also: {}\n",
        support.device,
        others.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use mlxbench_core::backend::{Identity, PrecisionSupport};

    use super::*;

    fn hello(devices: &[&str]) -> Hello {
        let support = |name: &&str| DeviceSupport {
            device: name.parse().unwrap(),
            description: None,
            precisions: ["f32", "bf16", "q4-bf16"]
                .map(|name| PrecisionSupport {
                    precision: name.parse().unwrap(),
                    unsupported: None,
                })
                .into(),
        };
        Hello {
            protocol: 1,
            identity: Identity {
                backend: "x".into(),
                framework: "X".into(),
                version: "1".into(),
                libraries: Default::default(),
            },
            devices: devices.iter().map(support).collect(),
            tries: Vec::new(),
        }
    }

    #[test]
    fn a_mac_has_its_gpu_in_bf16_and_the_cpu_to_switch_on() {
        let machine = Machine {
            memory_bytes: 64 << 30,
            cpu: "Apple\nM4".into(),
            ..system::machine()
        };
        let text = config(
            "mac",
            &machine,
            &[
                ("tch", hello(&["mps", "cpu"])),
                ("mlx", hello(&["gpu", "cpu"])),
            ],
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.models.first().source, "synthetic:gemma-3-4b");
        assert!(text.contains("hf:google/gemma-3-4b-pt"), "{text}");
        let targets = config.targets.iter().map(|target| {
            let device = target.device.clone().unwrap();
            format!("{}/{device}/{}", target.backend, target.dtypes[0])
        });
        assert_eq!(
            targets.collect::<Vec<_>>(),
            ["tch/mps/bf16", "mlx/gpu/bf16"]
        );
        let all = Config::parse(
            &text
                .replace("# [[target]]", "[[target]]")
                .replace("# backend", "backend")
                .replace("# device", "device")
                .replace("# dtypes", "dtypes"),
        );
        assert_eq!(all.unwrap().targets.len(), 4, "{text}");
    }
}
