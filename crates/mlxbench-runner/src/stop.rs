//! When a test has been repeated often enough.

use mlxbench_core::limits::REPETITIONS;
use mlxbench_core::results::{Settings, StopReason};

/// What is known of a test after a round over all targets.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    /// Rounds so far.
    pub(crate) rounds: usize,
    /// Measured seconds of all targets together.
    pub(crate) seconds: f64,
    /// Of every rate of every target that is still measured, the half-width of its interval as a
    /// share of the median; `None` while there is no interval.
    pub(crate) half_widths: &'a [Option<f64>],
}

/// Why the test is not repeated any more; `None` to go on.
pub(crate) fn stop(settings: &Settings, progress: &Progress<'_>) -> Option<StopReason> {
    if settings
        .max_seconds
        .is_some_and(|most| progress.seconds >= most)
    {
        return Some(StopReason::MaxSeconds);
    }
    if progress.rounds < settings.repetitions {
        return None;
    }
    let Some(percent) = settings.interval_percent else {
        return Some(StopReason::Repetitions);
    };
    let narrow = |half: &Option<f64>| half.is_some_and(|half| half * 100.0 <= percent);
    if progress.half_widths.iter().all(narrow) {
        return Some(StopReason::Interval);
    }
    let most = settings.max_repetitions.unwrap_or(REPETITIONS);
    (progress.rounds >= most).then_some(StopReason::MaxRepetitions)
}

#[cfg(test)]
pub(crate) mod tests {
    use mlxbench_core::results::Residency;

    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            repetitions: 5,
            processes: None,
            max_repetitions: None,
            interval_percent: None,
            max_seconds: None,
            delay_seconds: 0.0,
            throttle_retries: 0,
            throttle_pause_seconds: 0.0,
            warmup: 1,
            max_warmup: 1,
            chunk: 512,
            threads: 1,
            seed: 0,
            reference: None,
            compared_positions: 0,
            residency: Residency::Together,
        }
    }

    fn after(
        settings: &Settings,
        rounds: usize,
        half_widths: &[Option<f64>],
    ) -> Option<StopReason> {
        let seconds = rounds as f64;
        let progress = Progress {
            rounds,
            seconds,
            half_widths,
        };
        stop(settings, &progress)
    }

    #[test]
    fn without_rules_the_count_decides() {
        assert_eq!(after(&settings(), 4, &[]), None);
        assert_eq!(
            after(&settings(), 5, &[Some(0.5)]),
            Some(StopReason::Repetitions)
        );
    }

    #[test]
    fn an_interval_that_is_asked_for_must_be_reached_by_every_rate() {
        let settings = Settings {
            interval_percent: Some(2.0),
            max_repetitions: Some(9),
            ..settings()
        };
        assert_eq!(after(&settings, 4, &[Some(0.01)]), None);
        assert_eq!(after(&settings, 5, &[Some(0.01), Some(0.03)]), None);
        assert_eq!(after(&settings, 5, &[Some(0.01), None]), None);
        assert_eq!(
            after(&settings, 6, &[Some(0.01), Some(0.02)]),
            Some(StopReason::Interval)
        );
        assert_eq!(
            after(&settings, 9, &[Some(0.03)]),
            Some(StopReason::MaxRepetitions)
        );
    }

    #[test]
    fn an_interval_that_never_narrows_is_given_up_while_the_result_can_still_be_read() {
        let settings = Settings {
            interval_percent: Some(2.0),
            ..settings()
        };
        assert_eq!(after(&settings, REPETITIONS - 1, &[None]), None);
        let given_up = after(&settings, REPETITIONS, &[None]);
        assert_eq!(given_up, Some(StopReason::MaxRepetitions));
    }

    #[test]
    fn time_ends_a_test_whatever_else_is_asked_for() {
        let settings = Settings {
            max_seconds: Some(3.0),
            interval_percent: Some(2.0),
            ..settings()
        };
        assert_eq!(after(&settings, 2, &[Some(0.5)]), None);
        assert_eq!(
            after(&settings, 3, &[Some(0.5)]),
            Some(StopReason::MaxSeconds)
        );
    }
}
