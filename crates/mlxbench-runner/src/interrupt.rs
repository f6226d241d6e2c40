//! The user's wish that the run end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often one who waits looks whether it was interrupted.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Set when the user wants the run to end (Ctrl-C).
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks everything that waits to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Rests for `time`; false when it was asked to stop before the time was over.
    pub fn rest(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.is_set() && Instant::now() < end {
            thread::sleep(POLL.min(end.saturating_duration_since(Instant::now())));
        }
        !self.is_set()
    }
}
