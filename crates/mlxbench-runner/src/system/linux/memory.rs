//! Memory of a process, by the kernel's own account. Source: the kernel's
//! Documentation/filesystems/proc.rst.

use procfs::process::{ClearRefs, Process, Status};

/// The memory that process `pid` holds now, in bytes: `VmRSS`. `None` when the process is gone.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    status(pid)?.vmrss.map(|kib| kib * 1024)
}

/// The most memory that process `pid` has held since it started or [`reset_peak`], in bytes:
/// `VmHWM`. `None` when the process is gone.
pub fn peak_memory_bytes(pid: u32) -> Option<u64> {
    status(pid)?.vmhwm.map(|kib| kib * 1024)
}

/// Has the peak of process `pid` start again from what it holds now. False where the kernel doesn't
/// allow it: the peak then stays that since the start of the process.
pub fn reset_peak(pid: u32) -> bool {
    let reset = |process: Process| process.clear_refs(ClearRefs::PeakRSS).ok();
    process(pid).and_then(reset).is_some()
}

fn process(pid: u32) -> Option<Process> {
    Process::new(pid.try_into().ok()?).ok()
}

fn status(pid: u32) -> Option<Status> {
    process(pid)?.status().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: two would take each other's memory for their own.
    #[test]
    fn the_peak_covers_what_was_allocated_until_it_is_reset() {
        const BLOCK: u64 = 64 << 20;
        /// The kernel keeps the peak by a coarser count than the current figure.
        const COARSE: u64 = 4 << 20;
        let pid = std::process::id();
        let before = peak_memory_bytes(pid).unwrap();
        let block = vec![1u8; BLOCK as usize];
        let holding = memory_bytes(pid).unwrap();
        assert!(holding >= BLOCK, "{holding}");
        drop(std::hint::black_box(block));
        let peak = peak_memory_bytes(pid).unwrap();
        assert!(peak + COARSE >= before.max(holding), "{before} then {peak}");
        assert!(memory_bytes(pid).unwrap() <= peak - BLOCK / 2);

        assert!(reset_peak(pid));
        let after = peak_memory_bytes(pid).unwrap();
        assert!(after <= peak - BLOCK / 2, "{peak} then {after}");
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(memory_bytes(child.id()), None);
        assert!(!reset_peak(child.id()));
    }
}
