//! What state the machine is in, by the tools that every Mac has.

use std::process::Command;

use mlxbench_core::results::PowerSource;

use crate::system::tools;

/// Where the power comes from.
pub(crate) fn power_source() -> Option<PowerSource> {
    tools::power_source(&run("pmset", &["-g", "batt"])?)
}

/// Whether low-power mode is on.
pub(crate) fn low_power_mode() -> Option<bool> {
    tools::low_power_mode(&run("pmset", &["-g"])?)
}

/// How much the system slows itself down for heat.
pub(crate) fn thermal_pressure() -> Option<String> {
    let key = "com.apple.system.thermalpressurelevel";
    tools::thermal_pressure(&run("notifyutil", &["-g", key])?)
}

/// macOS doesn't let its choice of frequencies be seen.
pub(crate) fn frequency_governor() -> Option<String> {
    None
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()
}
