//! How fast the CPU reads and writes main memory, without any framework. Source: J. D. McCalpin,
//! "Memory Bandwidth and Machine Balance in Current High Performance Computers", IEEE TCCA
//! Newsletter, 1995 (STREAM): large arrays, all threads, the best of several passes.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use mlxbench_core::results::{StreamKernel, StreamProbe};

use crate::interrupt::Interrupt;

/// Elements of an array: with 128 MiB each, three of them exceed every cache fourfold.
const ELEMENTS: usize = 1 << 24;

/// Passes that are timed at least, as STREAM's own ten would take long on a slow machine.
const FEWEST_PASSES: usize = 3;

/// Times both kernels on so many threads, each for at least `least`. `None` when interrupted.
pub(crate) fn measure(
    threads: usize,
    least: Duration,
    interrupt: &Interrupt,
) -> Option<[StreamProbe; 2]> {
    let threads = threads.max(1);
    let block = ELEMENTS.div_ceil(threads);
    let mut a = vec![0.0_f64; ELEMENTS];
    let mut b = vec![0.0_f64; ELEMENTS];
    let mut c = vec![0.0_f64; ELEMENTS];
    // Each thread touches its part first, so that the pages lie near it.
    in_parallel(
        a.chunks_mut(block)
            .zip(b.chunks_mut(block))
            .zip(c.chunks_mut(block)),
        |((a, b), c)| {
            a.fill(1.0);
            b.fill(2.0);
            c.fill(0.5);
        },
    );
    let triad = fastest(least, interrupt, || {
        let parts = a
            .chunks_mut(block)
            .zip(b.chunks(block))
            .zip(c.chunks(block));
        in_parallel(parts, |((a, b), c)| triad(a, b, c, black_box(3.0)));
    })?;
    let read = fastest(least, interrupt, || {
        in_parallel(a.chunks(block), |a| {
            black_box(sum(a));
        });
    })?;
    let probe = |kernel, arrays: usize, time: Duration| StreamProbe {
        kernel,
        threads,
        moved_bytes: (arrays * ELEMENTS * size_of::<f64>()) as u64,
        time_ns: time.into(),
    };
    Some([
        probe(StreamKernel::Triad, 3, triad),
        probe(StreamKernel::Read, 1, read),
    ])
}

/// The fastest pass of those that fit into `least`, after one that isn't timed. `None` when
/// interrupted.
fn fastest(least: Duration, interrupt: &Interrupt, mut pass: impl FnMut()) -> Option<Duration> {
    pass();
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut passes = 0;
    while passes < FEWEST_PASSES || start.elapsed() < least {
        if interrupt.is_set() {
            return None;
        }
        let begun = Instant::now();
        pass();
        best = best.min(begun.elapsed());
        passes += 1;
    }
    Some(best)
}

/// Does `work` to each part on a thread of its own.
fn in_parallel<T: Send>(parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for part in parts {
            scope.spawn(|| work(part));
        }
    });
}

fn triad(a: &mut [f64], b: &[f64], c: &[f64], scale: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + scale * c;
    }
}

/// The sum in sixteen strands: one would wait for each addition instead of for memory.
fn sum(values: &[f64]) -> f64 {
    let mut strands = [0.0; 16];
    let chunks = values.chunks_exact(strands.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (strand, value) in strands.iter_mut().zip(chunk) {
            *strand += value;
        }
    }
    strands.iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_compute_what_they_say() {
        let mut a = [0.0; 3];
        triad(&mut a, &[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0], 0.5);
        assert_eq!(a, [6.0, 12.0, 18.0]);
        assert_eq!(sum(&[1.0; 35]), 35.0);
    }

    #[test]
    fn both_kernels_are_timed_by_streams_count() {
        let interrupt = Interrupt::default();
        let [triad, read] = measure(2, Duration::ZERO, &interrupt).unwrap();
        assert_eq!(
            (triad.kernel, read.kernel),
            (StreamKernel::Triad, StreamKernel::Read)
        );
        assert_eq!(triad.moved_bytes, 3 * read.moved_bytes);
        assert!(triad.time_ns.0 > 0 && read.time_ns.0 > 0);
        interrupt.set();
        assert_eq!(measure(2, Duration::from_secs(3600), &interrupt), None);
    }
}
