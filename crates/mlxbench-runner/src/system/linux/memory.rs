//! Peak memory of a process, by the kernel's own account.

/// The most memory that process `pid` has held so far, in bytes: `VmHWM`. `None` when the process
/// is gone.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let process = procfs::process::Process::new(pid.try_into().ok()?).ok()?;
    process.status().ok()?.vmhwm.map(|kib| kib * 1024)
}

#[cfg(test)]
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
