//! Memory of a process, by the kernel's own account: its `phys_footprint`, which counts Metal's
//! buffers too. Source: macOS's `sys/resource.h`.

use libproc::pid_rusage::{RUsageInfoV4, pidrusage};

/// The memory that process `pid` holds now, in bytes. `None` when the process is gone.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    Some(usage(pid)?.ri_phys_footprint)
}

/// The most memory that process `pid` has held since it started, in bytes. `None` when the process
/// is gone.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    Some(usage(pid)?.ri_lifetime_max_phys_footprint)
}

/// False: macOS keeps the peak since the start of a process, and has no way to reset it.
pub fn reset_peak(_pid: u32) -> bool {
    false
}

fn usage(pid: u32) -> Option<RUsageInfoV4> {
    pidrusage(pid.try_into().ok()?).ok()
}
