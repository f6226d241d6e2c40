//! Clocks. The loop owns one; an adapter never sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::Nanos;

/// A monotonic source of time.
pub trait Clock {
    /// The time since the clock's origin.
    fn now(&self) -> Nanos;
}

/// The operating system's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    origin: Instant,
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}

/// A clock that moves only when it is told to, so that tests of timing are exact and instant.
/// Clones share the time.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock {
    now: Arc<AtomicU64>,
    /// Where to be told means to wait: the operating system's clock.
    real: Option<MonotonicClock>,
}

impl VirtualClock {
    /// A clock whose time passes for everybody: to move it is to wait, with the processor busy, so
    /// that others can time the one who waits.
    pub fn in_real_time() -> Self {
        Self {
            now: Arc::default(),
            real: Some(MonotonicClock::default()),
        }
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Nanos) {
        match &self.real {
            None => {
                self.now.fetch_add(by.0, Ordering::Relaxed);
            }
            Some(clock) => {
                let start = clock.now();
                while clock.now().since(start) < by {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Nanos {
        match &self.real {
            None => Nanos(self.now.load(Ordering::Relaxed)),
            Some(clock) => clock.now(),
        }
    }
}
