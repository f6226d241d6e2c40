//! What drifted while a run went on, by more than chance explains in as many rows as it has.

use mlxbench_core::results::{Metric, PeakSince, RunResult};

use crate::metrics::values_by_process;
use crate::multiple;
use crate::summary::{Row, Summary};
use crate::trend::{CommonTrend, Trend};

/// Below this p-value a drift that all cases share isn't due to chance.
pub const COMMON_SIGNIFICANCE: f64 = 0.01;

/// The smallest change from the first repetition to the last of all cases that is worth a word: 2 %.
pub const SMALLEST_COMMON_DRIFT: f64 = 0.02;

/// The smallest change from the first repetition to the last of one case that is worth a word: 5 %.
pub const SMALLEST_DRIFT: f64 = 0.05;

/// What drifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drifting {
    /// The end-to-end time of a repetition.
    Time,
    /// The memory of the worker, which grew.
    Memory,
}

/// A row that drifted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift<'a> {
    /// Which row.
    pub row: &'a Row,
    /// What of it.
    pub what: Drifting,
    /// [`Trend::change`].
    pub change: f64,
}

/// Whether the whole machine drifted.
pub fn machine_drift(summary: &Summary) -> Option<&CommonTrend> {
    summary.drift.as_ref().filter(|drift| is_common(drift))
}

fn is_common(drift: &CommonTrend) -> bool {
    drift.p_value < COMMON_SIGNIFICANCE && drift.change.abs() >= SMALLEST_COMMON_DRIFT
}

/// The rows that drifted, times and memory together at the [level of the family](multiple::level): where
/// none does, a run warns in 5 % of cases at most, however many rows it has.
pub fn drifts<'a>(result: &RunResult, summary: &'a Summary) -> Vec<Drift<'a>> {
    let rows = summary.rows.iter();
    let times = rows.clone().filter_map(|row| {
        let trend = row.trend?;
        Some((row, Drifting::Time, trend))
    });
    let memory = rows.filter_map(|row| {
        let trend = memory_trend(result, row)?;
        Some((row, Drifting::Memory, trend))
    });
    let looked_at: Vec<(&Row, Drifting, Trend)> = times.chain(memory).collect();
    let trends: Vec<Trend> = looked_at.iter().map(|(.., trend)| *trend).collect();
    let found = looked_at.into_iter().zip(beyond_chance(&trends));
    let drifted = found.filter(|((_, what, trend), found)| {
        *found && (*what == Drifting::Time || trend.change > 0.0)
    });
    let drifted = drifted.map(|((row, what, trend), _)| Drift {
        row,
        what,
        change: trend.change,
    });
    drifted.collect()
}

/// Which of the trends of a run are worth a word, and not due to chance in as many as there are.
fn beyond_chance(trends: &[Trend]) -> impl Iterator<Item = bool> {
    let p_values: Vec<f64> = trends.iter().map(|trend| trend.p_value).collect();
    let level = multiple::level(&p_values);
    let found = move |trend: &Trend| trend.p_value <= level && trend.change.abs() >= SMALLEST_DRIFT;
    trends.iter().map(found)
}

/// How a worker's memory changed from repetition to repetition, where each has a peak of its own that
/// isn't the same in all.
fn memory_trend(result: &RunResult, row: &Row) -> Option<Trend> {
    let mut samples = result.samples_of(&row.target, &row.test);
    if !samples.all(|sample| sample.peak_memory_since == PeakSince::Repetition) {
        return None;
    }
    // Memory begins anew with each process.
    let peaks = values_by_process(Metric::PeakMemory, result, &row.target, &row.test);
    let peaks = peaks.into_iter().max_by_key(Vec::len)?;
    let varies = peaks.windows(2).any(|pair| pair[0] != pair[1]);
    varies.then(|| Trend::of(&peaks)).flatten()
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    use super::*;

    /// A time of about 100 with noise of 10 %, enough for any trend to be worth a word.
    fn noisy(random: &mut Xoshiro256PlusPlus) -> f64 {
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
        100.0 * (0.1 * radius * (std::f64::consts::TAU * uniform()).cos()).exp()
    }

    /// Of `runs` runs of `rows` rows, whose times grow by `growth` over the run, the share that warns of a
    /// row, and the share that warns at all.
    fn warned(runs: usize, rows: usize, repetitions: usize, growth: f64) -> (f64, f64) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(18);
        let (mut of_rows, mut at_all) = (0, 0);
        for _ in 0..runs {
            let mut row = || {
                let at = |at: usize| 1.0 + growth * at as f64 / (repetitions - 1) as f64;
                (0..repetitions)
                    .map(|own| noisy(&mut random) * at(own))
                    .collect()
            };
            let rows: Vec<Vec<f64>> = (0..rows).map(|_| row()).collect();
            let trends: Vec<Trend> = rows.iter().filter_map(|row| Trend::of(row)).collect();
            let row = beyond_chance(&trends).any(|found| found);
            let common = CommonTrend::of(rows.iter().map(Vec::as_slice));
            of_rows += usize::from(row);
            at_all += usize::from(row || common.as_ref().is_some_and(is_common));
        }
        [of_rows, at_all]
            .map(|count| count as f64 / runs as f64)
            .into()
    }

    #[test]
    fn forty_rows_without_a_drift_warn_in_one_run_of_twenty() {
        for repetitions in [5, 10, 20, 30] {
            let (of_rows, at_all) = warned(1000, 40, repetitions, 0.0);
            println!("{repetitions} repetitions: {of_rows} of rows, {at_all} at all");
            assert!(of_rows <= 0.065 && at_all <= 0.075, "{of_rows}, {at_all}");
        }
    }

    #[test]
    fn a_drift_of_all_rows_is_still_seen() {
        let (of_rows, at_all) = warned(100, 40, 10, 0.3);
        println!("{of_rows} of rows, {at_all} at all");
        assert!(of_rows >= 0.9 && at_all >= 0.99, "{of_rows}, {at_all}");
    }
}
