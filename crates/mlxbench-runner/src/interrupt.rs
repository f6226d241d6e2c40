//! The user's wish that the run end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often one who waits looks whether it was interrupted.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Set when the user wants the run to end (Ctrl-C).
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: AtomicBool,
    /// Whether somebody looks, has something to keep, and will end soon.
    heeded: AtomicBool,
}

impl Interrupt {
    /// Asks everything that waits to stop.
    pub fn set(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    /// What a signal says. False when it isn't enough to ask: nobody heeds this, as nothing has been
    /// measured that could be lost, or the user asked before. The process should end at once, then.
    pub fn ask(&self) -> bool {
        let first = !self.0.asked.swap(true, Ordering::Relaxed);
        first && self.0.heeded.load(Ordering::Relaxed)
    }

    /// Says that this is looked at every now and then, until what is returned is dropped.
    pub(crate) fn heed(&self) -> Heeding<'_> {
        self.0.heeded.store(true, Ordering::Relaxed);
        Heeding(self)
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Rests for `time`; false when it was asked to stop before the time was over.
    pub fn rest(&self, time: Duration) -> bool {
        let start = Instant::now();
        while !self.is_set() && start.elapsed() < time {
            thread::sleep(POLL.min(time.saturating_sub(start.elapsed())));
        }
        !self.is_set()
    }
}

/// While this lives, an [`Interrupt`] is looked at.
#[derive(Debug)]
pub(crate) struct Heeding<'a>(&'a Interrupt);

impl Drop for Heeding<'_> {
    fn drop(&mut self) {
        self.0.0.heeded.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_asks_only_where_somebody_heeds_it() {
        assert!(!Interrupt::default().ask());
        let interrupt = Interrupt::default();
        let heeding = interrupt.heed();
        assert!(interrupt.ask());
        assert!(interrupt.is_set());
        assert!(!interrupt.ask(), "a second one ends at once");
        drop(heeding);
    }

    #[test]
    fn what_is_over_is_not_heeded() {
        let interrupt = Interrupt::default();
        drop(interrupt.heed());
        assert!(!interrupt.ask());
    }

    #[test]
    fn a_rest_of_any_length_ends_when_asked() {
        let interrupt = Interrupt::default();
        assert!(interrupt.rest(Duration::ZERO));
        interrupt.set();
        assert!(!interrupt.rest(Duration::MAX));
    }
}
