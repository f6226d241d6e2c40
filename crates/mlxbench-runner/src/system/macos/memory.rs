//! Peak memory of a process, by the kernel's own account.

use libproc::pid_rusage::{RUsageInfoV4, pidrusage};

/// The most memory that process `pid` has held so far, in bytes: the lifetime peak of its
/// `phys_footprint`, which counts Metal's buffers too. `None` when the process is gone.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let usage: RUsageInfoV4 = pidrusage(pid.try_into().ok()?).ok()?;
    Some(usage.ri_lifetime_max_phys_footprint)
}
