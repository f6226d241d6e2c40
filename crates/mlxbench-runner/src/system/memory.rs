//! Peak memory of a process, by the operating system's own account.

/// The most memory that process `pid` has held so far: `VmHWM` on Linux. `None` where this build
/// has no source for it, or the process is gone.
#[cfg(target_os = "linux")]
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let process = procfs::process::Process::new(pid.try_into().ok()?).ok()?;
    process.status().ok()?.vmhwm.map(|kib| kib * 1024)
}

/// The most memory that process `pid` has held so far. `None`: not implemented on this system.
#[cfg(not(target_os = "linux"))]
pub fn peak_memory_bytes(_pid: u32) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_covers_what_was_allocated() {
        let before = peak_memory_bytes(std::process::id()).unwrap();
        let block = vec![1u8; 64 << 20];
        let after = peak_memory_bytes(std::process::id()).unwrap();
        assert!(
            after >= before.max(block.len() as u64),
            "{before} then {after}"
        );
    }
}
