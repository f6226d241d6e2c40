//! What the machine has, from sysfs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mlxbench_core::results::Gpu;

/// Cores of the fast kind of a hybrid processor; `None` where all are alike. Source: the kernel's
/// Documentation/ABI/testing/sysfs-bus-event_source-devices (Intel's hybrid PMUs).
pub(crate) fn performance_cores() -> Option<usize> {
    cores(Path::new("/sys/devices"), "cpu_core")
}

/// Cores of the thrifty kind of a hybrid processor, by the same source.
pub(crate) fn efficiency_cores() -> Option<usize> {
    cores(Path::new("/sys/devices"), "cpu_atom")
}

/// Not known here: frameworks name the GPUs that they use.
pub(crate) fn gpu() -> Option<Gpu> {
    None
}

/// Physical cores, which may have several hardware threads each, of the kind that `pmu` counts.
fn cores(devices: &Path, pmu: &str) -> Option<usize> {
    let list = fs::read_to_string(devices.join(pmu).join("cpus")).ok()?;
    let cores: BTreeSet<String> = cpus(list.trim())
        .filter_map(|cpu| {
            let topology = format!("system/cpu/cpu{cpu}/topology/core_cpus_list");
            fs::read_to_string(devices.join(topology)).ok()
        })
        .collect();
    (!cores.is_empty()).then_some(cores.len())
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
    fn cores_of_a_hybrid_processor_are_counted_by_their_kind() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        let kind = |pmu| cores(folder.path(), pmu);
        assert_eq!(kind("cpu_core"), None);
        write("cpu_core/cpus", "0-3");
        write("cpu_atom/cpus", "4-6");
        let siblings = ["0-1", "0-1", "2-3", "2-3", "4", "5", "6"];
        for (cpu, siblings) in siblings.into_iter().enumerate() {
            let path = format!("system/cpu/cpu{cpu}/topology/core_cpus_list");
            write(&path, siblings);
        }
        assert_eq!((kind("cpu_core"), kind("cpu_atom")), (Some(2), Some(3)));
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0-3,8").collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(cpus("").count(), 0);
    }
}
