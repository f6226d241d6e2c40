//! What state the machine is in, from sysfs.

use std::fs;
use std::path::Path;

use mlxbench_core::results::PowerSource;

/// Where the power comes from; `None` for a machine that doesn't say.
pub(crate) fn power_source() -> Option<PowerSource> {
    source_of(Path::new("/sys/class/power_supply"))
}

/// Whether the firmware saves power, where it has such a profile.
pub(crate) fn low_power_mode() -> Option<bool> {
    let profile = fs::read_to_string("/sys/firmware/acpi/platform_profile").ok()?;
    Some(profile.trim() == "low-power")
}

/// How the kernel chooses the frequency of the first CPU, where it does. Source: the kernel's
/// Documentation/admin-guide/pm/cpufreq.rst.
pub(crate) fn frequency_governor() -> Option<String> {
    governor_of(Path::new("/sys/devices/system/cpu/cpu0"))
}

/// Linux has no one word for it.
pub(crate) fn thermal_pressure() -> Option<String> {
    None
}

fn governor_of(cpu: &Path) -> Option<String> {
    let name = fs::read_to_string(cpu.join("cpufreq/scaling_governor")).ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.into())
}

fn source_of(supplies: &Path) -> Option<PowerSource> {
    let supplies = fs::read_dir(supplies).ok()?.flatten();
    let mut source = None;
    for supply in supplies {
        let read = |name| fs::read_to_string(supply.path().join(name)).unwrap_or_default();
        match (
            read("type").trim(),
            read("online").trim(),
            read("status").trim(),
        ) {
            ("Battery", _, "Discharging") => return Some(PowerSource::Battery),
            ("Mains", "1", _) => source = Some(PowerSource::Mains),
            _ => {}
        }
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_that_discharges_is_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            for (file, text) in files {
                fs::write(path.join(file), format!("{text}\n")).unwrap();
            }
        };
        assert_eq!(source_of(folder.path()), None);
        supply("AC", &[("type", "Mains"), ("online", "1")]);
        assert_eq!(source_of(folder.path()), Some(PowerSource::Mains));
        supply("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        assert_eq!(source_of(folder.path()), Some(PowerSource::Battery));
    }

    #[test]
    fn the_governor_is_read_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(governor_of(folder.path()), None);
        let cpufreq = folder.path().join("cpufreq");
        fs::create_dir(&cpufreq).unwrap();
        fs::write(cpufreq.join("scaling_governor"), "powersave\n").unwrap();
        assert_eq!(governor_of(folder.path()).as_deref(), Some("powersave"));
    }
}
