//! What keeps a machine from being measured well, and the one command that mends it.

use std::collections::BTreeMap;
use std::path::Path;

use mlxbench_core::results::{Conditions, PowerSource};
use mlxbench_runner::system::{self, packages};
use serde::Serialize;

use crate::cmd::backends::{BACKENDS, Backend};
use crate::cmd::report::quoted;

/// The share of all processors that others may take before figures suffer.
const BUSY: f64 = 0.2;

/// Something that is amiss.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    pub(super) problem: String,
    /// The command, where there is one.
    pub(super) remedy: Option<String>,
}

impl Advice {
    fn new(problem: impl Into<String>, remedy: Option<&str>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.map(str::to_owned),
        }
    }
}

/// What isn't there: frameworks, their BLAS, the parts for a GPU.
pub(super) fn missing(backends: &BTreeMap<String, Backend>) -> Vec<Advice> {
    let setup = script("setup");
    let mut advice = Vec::new();
    for name in BACKENDS {
        if let Some(Backend::Missing(_)) = backends.get(name) {
            let build = script("mlxbench").map(|script| format!("{script} doctor"));
            advice.push(Advice::new(
                format!("{name} can't be used, see above"),
                build.as_deref(),
            ));
        }
    }
    let usable = backends.values().filter_map(Backend::usable);
    let mut devices = usable.flat_map(|hello| &hello.devices);
    let gpus = system::nvidia_gpus();
    if gpus > 0 && !devices.any(|support| support.device.kind().starts_with("cuda")) {
        let remedy = setup.as_ref().map(|setup| format!("{setup} --cuda"));
        let problem = format!("{gpus} NVIDIA GPU(s) here, and no framework that is built for them");
        advice.push(Advice::new(problem, remedy.as_deref()));
    }
    advice.extend(slow_blas(
        backends.get("mlx"),
        setup.as_deref(),
        packages::openblas(),
    ));
    advice
}

/// MLX's wheels for Linux carry a reference BLAS; on macOS it takes Apple's.
fn slow_blas(mlx: Option<&Backend>, setup: Option<&str>, package: Option<&str>) -> Option<Advice> {
    let hello = mlx?.usable()?;
    let blas = hello.identity.libraries.get("BLAS")?;
    let on_cpu = hello
        .devices
        .iter()
        .any(|support| support.device.kind() == "cpu");
    let is_fast = ["OpenBLAS", "Accelerate", "vecLib"];
    if !on_cpu || is_fast.iter().any(|name| blas.starts_with(name)) {
        return None;
    }
    let problem =
        format!("MLX multiplies with {blas} on the CPU, which is much slower than OpenBLAS");
    Some(Advice::new(problem, setup.or(package)))
}

/// What makes figures unsteady or low.
pub(super) fn unsteady(conditions: &Conditions) -> Vec<Advice> {
    let Conditions {
        power_source,
        low_power_mode,
        thermal_pressure,
        cpu_busy,
        frequency_governor,
    } = conditions;
    let mut advice = Vec::new();
    if *power_source == Some(PowerSource::Battery) {
        advice.push(Advice::new("on battery: plug the machine in", None));
    }
    if *low_power_mode == Some(true) {
        advice.push(Advice::new("low-power mode is on: switch it off", None));
    }
    if let Some(pressure) = thermal_pressure.as_ref().filter(|word| *word != "nominal") {
        let problem = format!("thermal pressure is {pressure}: let the machine cool down");
        advice.push(Advice::new(problem, None));
    }
    if let Some(busy) = cpu_busy.filter(|&busy| busy > BUSY) {
        let problem = format!(
            "other programs keep {:.0} % of the CPU busy: end them",
            100.0 * busy
        );
        advice.push(Advice::new(problem, None));
    }
    if frequency_governor.as_deref() == Some("powersave") {
        let problem = "the governor is powersave, which may keep clocks low";
        advice.push(Advice::new(problem, packages::performance_governor()));
    }
    advice
}

/// A script of the checkout that this program was built in, as a shell takes it; `None` of one that was installed.
fn script(name: &str) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    // What another project's folder has in `scripts` isn't ours.
    let is_ours = |folder: &&Path| {
        folder.join("crates/mlxbench").is_dir()
            && folder.join("scripts/native/wheels.json").is_file()
    };
    let script = program
        .ancestors()
        .find(is_ours)?
        .join("scripts")
        .join(name);
    script.is_file().then(|| quoted(&script))
}

#[cfg(test)]
mod tests {
    use mlxbench_core::backend::{DeviceSupport, Identity};
    use mlxbench_core::protocol::Hello;

    use super::*;

    fn mlx(blas: &str, device: &str) -> Backend {
        Backend::Usable(Hello {
            protocol: 1,
            identity: Identity {
                backend: "mlx".into(),
                framework: "MLX".into(),
                version: "1".into(),
                libraries: [("BLAS".to_owned(), blas.to_owned())].into(),
            },
            devices: vec![DeviceSupport {
                device: device.parse().unwrap(),
                description: None,
                precisions: Vec::new(),
            }],
            tries: Vec::new(),
        })
    }

    #[test]
    fn a_reference_blas_is_answered_with_the_command_that_brings_a_better_one() {
        let advice = |blas, device, setup, package| {
            let found = slow_blas(Some(&mlx(blas, device)), setup, package)?;
            Some(found.remedy.unwrap())
        };
        let apt = Some("sudo apt install x");
        assert_eq!(advice("libblas.so", "cpu", None, apt).as_deref(), apt);
        assert_eq!(
            advice("libblas.so", "cpu", Some("s/setup"), apt).unwrap(),
            "s/setup"
        );
        assert_eq!(advice("OpenBLAS 0.3", "cpu", None, apt), None);
        assert_eq!(advice("libblas.so", "cuda", None, apt), None);
        assert_eq!(advice("Accelerate.framework", "cpu", None, None), None);
    }

    #[test]
    fn a_machine_in_a_good_state_needs_nothing() {
        assert_eq!(unsteady(&Conditions::default()), []);
        let bad = Conditions {
            power_source: Some(PowerSource::Battery),
            low_power_mode: Some(true),
            thermal_pressure: Some("heavy".into()),
            cpu_busy: Some(0.5),
            frequency_governor: Some("powersave".into()),
        };
        assert_eq!(unsteady(&bad).len(), 5);
    }
}
