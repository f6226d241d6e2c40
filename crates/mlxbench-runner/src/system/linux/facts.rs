//! What the machine has, from sysfs.

use std::collections::BTreeSet;
use std::fs;

use mlxbench_core::results::Gpu;

/// Cores of the fast kind of a hybrid processor; `None` where all are alike. Source: the kernel's
/// Documentation/ABI/testing/sysfs-bus-event_source-devices (Intel's hybrid PMUs).
pub(crate) fn performance_cores() -> Option<usize> {
    physical_cores("/sys/devices/cpu_core/cpus")
}

/// Cores of the slow kind of a hybrid processor; `None` where all are alike.
pub(crate) fn efficiency_cores() -> Option<usize> {
    physical_cores("/sys/devices/cpu_atom/cpus")
}

/// Physical cores of the processors that the file lists.
fn physical_cores(list: &str) -> Option<usize> {
    let list = fs::read_to_string(list).ok()?;
    let cores: BTreeSet<String> = cpus(list.trim())
        .filter_map(|cpu| {
            let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list");
            fs::read_to_string(topology).ok()
        })
        .collect();
    (!cores.is_empty()).then_some(cores.len())
}

/// Not known here: frameworks name the GPUs that they use.
pub(crate) fn gpu() -> Option<Gpu> {
    None
}

/// The numbers of a list as the kernel writes it: `0-3,8`.
fn cpus(list: &str) -> impl Iterator<Item = usize> {
    list.split(',').flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => first..last + 1,
            _ => 0..0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0-3,8").collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(cpus("").count(), 0);
    }
}
