//! The machine, by the sysinfo crate where that suffices.

use std::thread;

use mlxbench_core::results::{Conditions, Machine};
use sysinfo::{
    CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, RefreshKind, System,
};

use super::os::{conditions, facts};

/// The machine that this process runs on.
pub fn machine() -> Machine {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok();
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    Machine {
        os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.into()),
        kernel: System::kernel_version().ok(),
        arch: std::env::consts::ARCH.into(),
        cpu: cpus
            .first()
            .map_or_else(String::new, |cpu| cpu.brand().trim().into()),
        physical_cores: System::physical_core_count().ok(),
        performance_cores: facts::performance_cores(),
        efficiency_cores: facts::efficiency_cores(),
        logical_cores: cpus.len(),
        memory_bytes: system.as_ref().map_or(0, System::total_memory),
        gpu: facts::gpu(),
    }
}

/// What this machine, its user and the user's home are called.
pub fn names() -> Vec<String> {
    let variables = ["USER", "LOGNAME", "USERNAME"].into_iter();
    let users = variables.filter_map(|name| std::env::var(name).ok());
    let home = std::env::home_dir();
    let home = home.and_then(|home| Some(home.file_name()?.to_str()?.to_owned()));
    let host = System::host_name().ok();
    let short = host.as_deref().and_then(|host| host.split('.').next());
    let short = short.map(str::to_owned);
    users.chain(home).chain(host).chain(short).collect()
}

/// Memory that programs could be given now without others being swapped out; `None` where the system doesn't say.
pub fn available_memory_bytes() -> Option<u64> {
    let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok()?;
    Some(system.available_memory()).filter(|&bytes| bytes > 0)
}

/// What state the machine is in now, which takes [`MINIMUM_CPU_UPDATE_INTERVAL`] to see.
pub fn conditions() -> Conditions {
    Conditions {
        power_source: conditions::power_source(),
        low_power_mode: conditions::low_power_mode(),
        thermal_pressure: conditions::thermal_pressure(),
        cpu_busy: cpu_busy(),
        frequency_governor: conditions::frequency_governor(),
    }
}

/// The share of all CPUs that is busy, from 0 to 1, over [`MINIMUM_CPU_UPDATE_INTERVAL`], which this
/// waits for.
fn cpu_busy() -> Option<f64> {
    let usage = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_usage());
    let mut system = System::new_with_specifics(usage).ok()?;
    thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
    system.refresh_cpu_usage();
    share(system.global_cpu_usage())
}

/// The share that is so many percent; none where no time was counted at all.
fn share(percent: f32) -> Option<f64> {
    let share = f64::from(percent) / 100.0;
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

/// How many threads a framework is given where nobody says: one a physical core of the fast kind,
/// and no more than this process may use.
pub fn cores() -> usize {
    let usable = thread::available_parallelism().map_or(1, usize::from);
    let physical = || System::physical_core_count().ok();
    let fast = facts::performance_cores().or_else(physical);
    fast.unwrap_or(usable).clamp(1, usable)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn there_is_a_core_for_a_thread() {
        assert!(cores() >= 1);
    }

    #[test]
    fn cpus_at_work_are_seen() {
        let usable = thread::available_parallelism().unwrap().get();
        let done = AtomicBool::new(false);
        let busy = thread::scope(|scope| {
            for _ in 0..usable {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let busy = cpu_busy();
            done.store(true, Ordering::Relaxed);
            busy.unwrap()
        });
        let most = usable as f64 / machine().logical_cores as f64;
        assert!(busy > 0.6 * most && busy <= 1.0, "{busy} of {most}");
    }

    #[test]
    fn percents_become_shares() {
        assert_eq!(share(25.0), Some(0.25));
        assert_eq!(share(100.5), Some(1.0));
        assert_eq!(share(f32::NAN), None);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = machine();
        assert!(
            machine.logical_cores > 0 && machine.memory_bytes > 0,
            "{machine:?}"
        );
    }
}
