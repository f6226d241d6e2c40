//! What is looked at from time to time beside a worker: its memory here, its device in `readings`.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mlxbench_core::results::Timeline;

use super::os::memory::memory_bytes;

/// The most points of a timeline.
const MOST_POINTS: usize = 64;

/// A thread that looks at something from time to time. Dropping it without [`Self::stop`] ends it too.
#[derive(Debug)]
pub(super) struct Sampler<S> {
    /// Says stop by being dropped.
    stop: Sender<()>,
    thread: JoinHandle<S>,
}

impl<S: Send + 'static> Sampler<S> {
    /// Calls `look` with the time since the start, now and once in `every` (a millisecond at least) from
    /// now on, as long as it says true.
    pub(super) fn start(
        every: Duration,
        mut seen: S,
        mut look: impl FnMut(&mut S, Duration) -> bool + Send + 'static,
    ) -> Self {
        let every = every.max(Duration::from_millis(1));
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut next = Duration::ZERO;
            loop {
                let now = start.elapsed();
                if !look(&mut seen, now) {
                    break;
                }
                // From the start, not from now, so that delays don't add up.
                next = (next + every).max(now);
                let wait = next.saturating_sub(start.elapsed());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends the thread, after a look that is under way. What it saw; `None` if it panicked.
    pub(super) fn stop(self) -> Option<S> {
        drop(self.stop);
        self.thread.join().ok()
    }
}

/// Looks at the memory of a process.
#[derive(Debug)]
pub struct MemorySampler(Sampler<Points>);

impl MemorySampler {
    /// Looks at process `pid` now and once in `every` (a millisecond at least) from now on, until the
    /// process is gone. Calls `on_limit` with the footprint in bytes, on the sampler's thread and once, as soon as it
    /// is above `limit_bytes`.
    pub fn start(
        pid: u32,
        every: Duration,
        limit_bytes: Option<u64>,
        on_limit: impl FnOnce(u64) + Send + 'static,
    ) -> Self {
        let mut on_limit = Some(on_limit);
        let points = Points::new(every.max(Duration::from_millis(1)));
        Self(Sampler::start(every, points, move |points, now| {
            let Some(bytes) = memory_bytes(pid) else {
                return false;
            };
            points.add(now, bytes);
            if limit_bytes.is_some_and(|limit| bytes > limit)
                && let Some(tell) = on_limit.take()
            {
                tell(bytes);
            }
            true
        }))
    }

    /// Ends the thread at once. What it saw.
    pub fn stop(self) -> Timeline {
        self.0.stop().map(Points::timeline).unwrap_or_default()
    }
}

/// Evenly spaced points. When there are too many, every second one goes and the spacing doubles.
#[derive(Debug)]
struct Points {
    every: Duration,
    bytes: Vec<u64>,
}

impl Points {
    fn new(every: Duration) -> Self {
        Self {
            every,
            bytes: Vec::with_capacity(MOST_POINTS),
        }
    }

    /// Takes what was held `at` after the start, if a point is due. One that comes late stands for
    /// those that were missed too.
    fn add(&mut self, at: Duration, bytes: u64) {
        while self.every * self.bytes.len() as u32 <= at {
            if self.bytes.len() == MOST_POINTS {
                let mut index = 0..;
                self.bytes
                    .retain(|_| index.next().is_some_and(|index| index % 2 == 0));
                self.every *= 2;
            } else {
                self.bytes.push(bytes);
            }
        }
    }

    fn timeline(self) -> Timeline {
        Timeline {
            every_ns: self.every.into(),
            memory_bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::Nanos;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_full_timeline_drops_every_second_point() {
        let mut points = Points::new(20 * MS);
        for at in 0..64 {
            points.add(20 * MS * at, at.into());
        }
        assert_eq!((points.every, points.bytes.len()), (20 * MS, 64));
        for at in 64..200 {
            points.add(20 * MS * at, at.into());
        }
        let timeline = points.timeline();
        assert_eq!(timeline.every_ns, Nanos(80_000_000));
        let expected: Vec<u64> = (0..50).map(|point| 4 * point).collect();
        assert_eq!(timeline.memory_bytes, expected);
    }

    #[test]
    fn a_late_point_stands_for_those_that_were_missed() {
        let mut points = Points::new(20 * MS);
        points.add(Duration::ZERO, 1);
        points.add(5 * MS, 2);
        points.add(65 * MS, 3);
        points.add(70 * MS, 4);
        points.add(81 * MS, 5);
        assert_eq!(points.bytes, [1, 3, 3, 3, 5]);
    }

    #[test]
    fn a_process_is_watched_until_it_is_stopped() {
        let (told, tells) = mpsc::channel();
        let on_limit = move |bytes| told.send(bytes).unwrap();
        let sampler = MemorySampler::start(std::process::id(), MS, Some(1), on_limit);
        let bytes = tells.recv_timeout(Duration::from_secs(60)).unwrap();
        thread::sleep(20 * MS);
        let timeline = sampler.stop();
        assert!(timeline.memory_bytes.len() > 2, "{timeline:?}");
        assert!(bytes > 1 && timeline.memory_bytes.iter().all(|&held| held > 1));
        assert_eq!(tells.iter().count(), 0, "the limit is told once");
    }

    #[test]
    fn a_limit_that_is_kept_is_not_told() {
        let on_limit = |_| unreachable!("nothing is above the limit");
        let sampler = MemorySampler::start(std::process::id(), MS, Some(u64::MAX), on_limit);
        thread::sleep(10 * MS);
        assert!(!sampler.stop().memory_bytes.is_empty());
    }

    #[test]
    fn stopping_does_not_wait_for_the_next_point() {
        let start = Instant::now();
        let long = Duration::from_secs(20);
        let sampler = MemorySampler::start(std::process::id(), long, None, |_| {});
        while start.elapsed() < 10 * MS {
            thread::yield_now();
        }
        assert!(sampler.stop().memory_bytes.len() <= 1);
        assert!(start.elapsed() < long / 2);
    }

    #[test]
    fn a_process_that_is_gone_ends_the_timeline() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let sampler = MemorySampler::start(child.id(), MS, None, |_| {});
        assert_eq!(sampler.stop().memory_bytes, [0; 0]);
    }
}
