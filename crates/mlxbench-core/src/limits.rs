//! How far numbers from configs, files and workers are believed. What lies beyond is a mistake or a lie,
//! and is refused where it is read: the arithmetic behind that (sums of times, products of shapes,
//! durations, allocations) then fits its types.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest time: of a measurement, a rest, a time-out.
pub const TIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Tokens in a row of a test's prompt, depth or generation.
pub const TOKENS: usize = 1 << 24;
/// Token ids of a test, over all its rows: a batch of 512 rows with 131,072 tokens of context.
pub const IDS: usize = 1 << 26;
/// Threads of a CPU.
pub const THREADS: usize = 4096;
/// Repetitions, warm-ups, tests and targets of a run.
pub const REPETITIONS: usize = 100_000;
/// Positions at which two targets are compared.
pub const POSITIONS: usize = 1 << 16;
/// Bytes of memory or of a file.
pub const BYTES: u64 = 1 << 60;
/// Joules of a repetition, and watts: a power plant for a month.
pub const JOULES: f64 = 1e16;
/// A clock's rate, in MHz: a terahertz.
pub const MEGAHERTZ: usize = 1_000_000;
/// Temperatures of a device.
pub const CELSIUS: RangeInclusive<f64> = -273.15..=10_000.0;
/// A model's width: of its residual stream, its MLP, all its heads together.
pub const WIDTH: usize = 1 << 22;
/// A model's vocabulary.
pub const VOCABULARY: usize = 1 << 24;
/// A model's layers.
pub const LAYERS: usize = 1 << 12;

/// Refuses a count above `most`.
///
/// # Errors
/// With the name of what it counts.
pub fn at_most(what: &str, count: usize, most: usize) -> Result<(), String> {
    match count <= most {
        true => Ok(()),
        false => Err(format!(
            "{what} is {count}: the most that makes sense is {most}"
        )),
    }
}

/// A duration of so many seconds, from 0 to [`TIME`].
///
/// # Errors
/// With its name, when it isn't.
pub fn seconds(what: &str, seconds: f64) -> Result<Duration, String> {
    let most = TIME.as_secs_f64();
    match (0.0..=most).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(format!("{what} is {seconds}: write 0 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_are_none_are_refused_by_name() {
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e300, 2_592_000.1] {
            let message = seconds("delay_seconds", wrong).unwrap_err();
            assert!(message.starts_with("delay_seconds is "), "{message}");
        }
        assert_eq!(seconds("x", 0.0), Ok(Duration::ZERO));
        assert_eq!(seconds("x", 1.5), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("x", TIME.as_secs_f64()), Ok(TIME));
    }

    #[test]
    fn counts_are_refused_by_name() {
        assert_eq!(at_most("threads", 3, 3), Ok(()));
        let message = at_most("threads", 4, 3).unwrap_err();
        assert_eq!(message, "threads is 4: the most that makes sense is 3");
    }
}
