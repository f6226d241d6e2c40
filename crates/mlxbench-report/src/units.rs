//! Times, sizes and rates in print, and what can't be printed.

use std::fmt::Write as _;

use mlxbench_analysis::{Estimate, Interval};
use mlxbench_core::results::{Equivalence, Run, RunResult};

pub(crate) use mlxbench_core::text::is_unprintable;

/// `268M parameters`; of a model on a server nobody here knows.
pub(crate) fn parameters(count_of: u64) -> String {
    match count_of {
        0 => "its size not stated".into(),
        some => format!("{} parameters", count(some)),
    }
}

/// A duration in nanoseconds to three significant digits: `1.23 ms`, `45.6 s`.
pub(crate) fn time(ns: f64) -> String {
    // Rounding first keeps 999.9 µs from becoming `1000 µs`.
    let ns = three_digits(ns);
    let (value, unit) = match ns {
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns if ns >= 1e3 => (ns / 1e3, "µs"),
        ns => (ns, "ns"),
    };
    let decimals = if unit == "ns" { 0 } else { decimals(value, 3) };
    format!("{value:.decimals$} {unit}")
}

/// A size with binary units, to three significant digits: `1.50 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // What rounds to the next unit is in it.
    while value >= 1023.5 {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if unit == 0 { 0 } else { decimals(value, 3) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A figure with its 95 % interval, as many digits as its width is worth: `24.1 ± 0.3`. An interval that is much
/// longer on one side is shown from end to end: `390 (210-1100)`. Without an interval there are four digits.
pub(crate) fn rate(rate: &Estimate) -> String {
    let Some(Interval { low, high }) = rate.interval else {
        return figure(rate.median);
    };
    let (below, above) = (rate.median - low, high - rate.median);
    let half = below.max(above);
    let shown = by_width(half, rate.median);
    let lopsided = half > LOPSIDED * below.min(above) && half > WIDE * rate.median.abs();
    match lopsided {
        true => format!("{} ({}-{})", shown(rate.median), shown(low), shown(high)),
        false => format!("{} ± {}", shown(rate.median), shown(half)),
    }
}

/// The median alone, with as many digits: `24.1`.
pub(crate) fn median(rate: &Estimate) -> String {
    let Some(Interval { low, high }) = rate.interval else {
        return figure(rate.median);
    };
    by_width((rate.median - low).max(high - rate.median), rate.median)(rate.median)
}

/// How many times as long as the other one side of an interval is that ± wouldn't tell of.
const LOPSIDED: f64 = 1.5;

/// The share of the median from which on it matters.
const WIDE: f64 = 0.05;

/// Prints figures so that two digits of `half`, the half of their interval, are seen; four of the `median` where the
/// interval is nothing.
fn by_width(half: f64, median: f64) -> impl Fn(f64) -> String {
    let last = match half > 0.0 && half.is_finite() {
        true => (half.log10().floor() as i32 - 1).max(-6),
        false => -(decimals(median, 4) as i32),
    };
    move |value| {
        let decimals = usize::try_from(-last).unwrap_or(0);
        // Beyond the point, digits that mean nothing are zeros.
        let step = 10_f64.powi(last.max(0));
        let value = if last > 0 {
            (value / step).round() * step
        } else {
            value
        };
        format!("{value:.decimals$}")
    }
}

/// A figure to four significant digits.
pub(crate) fn figure(value: f64) -> String {
    let decimals = decimals(value, 4);
    format!("{value:.decimals$}")
}

/// How often a case is measured: `6 repetitions in 3 processes`, `6 to 30 repetitions in 3 processes or more`; of
/// two workers that are measured until they are decided how often that was, `38 rounds of both workers`.
pub(crate) fn repetitions(result: &RunResult) -> String {
    let Run {
        sides, settings, ..
    } = &result.run;
    if sides.as_ref().is_some_and(|sides| sides.sequence.is_some()) {
        // Of a block that was cut short nothing counts.
        let whole = result.stopped.iter().map(|stopped| stopped.repetitions);
        let begun = || result.samples.iter().map(|sample| sample.repetition + 1);
        return match whole.max().or_else(|| begun().max()).unwrap_or_default() {
            1 => "1 round of both workers".into(),
            rounds => format!("{rounds} rounds of both workers"),
        };
    }
    let (least, processes) = (settings.repetitions, settings.processes());
    match settings.max_repetitions {
        Some(most) if processes > 1 => {
            let processes = in_processes(least, processes);
            format!("{least} to {most} repetitions{processes} or more")
        }
        Some(most) => format!("{least} to {most} repetitions{}", in_processes(most, 1)),
        None if least == 1 => "1 repetition".into(),
        None => format!("{least} repetitions{}", in_processes(least, processes)),
    }
}

/// In how many worker processes so many repetitions were measured, after their number: ` in 3 processes`. Nothing
/// for a single repetition.
pub(crate) fn in_processes(repetitions: usize, processes: usize) -> String {
    match processes {
        _ if repetitions < 2 => String::new(),
        1 => " in 1 process".into(),
        several => format!(" in {several} processes"),
    }
}

/// Power: `5.2 W`.
pub(crate) fn watts(watts: f64) -> String {
    format!("{watts:.1} W")
}

/// Energy with its ±: `1.250 ± 0.031 J`, `0.840 ± 0.012 mJ`.
pub(crate) fn joules(energy: &Estimate) -> String {
    match energy.median.abs() < 0.1 {
        true => format!("{} mJ", rate(&energy.scaled(1e3))),
        false => format!("{} J", rate(energy)),
    }
}

/// A share in per cent: `73 %`, `4.2 %`.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = if percent < 10.0 { 1 } else { 0 };
    format!("{percent:.decimals$} %")
}

/// Bytes a second in decimal units, as memory is sold: `38.1 GB/s`.
pub(crate) fn bandwidth(bytes_per_second: f64) -> String {
    format!("{} GB/s", three_significant(bytes_per_second / 1e9))
}

/// Operations a second: `165 GFLOP/s`.
pub(crate) fn operations(per_second: f64) -> String {
    format!("{} GFLOP/s", three_significant(per_second / 1e9))
}

fn three_significant(value: f64) -> String {
    let decimals = decimals(value, 3);
    format!("{value:.decimals$}")
}

/// A count with its magnitude, to three significant digits: `268M`, `2.61B`.
pub(crate) fn count(count: u64) -> String {
    let count = three_digits(count as f64);
    let (value, unit) = match count {
        count if count >= 1e9 => (count / 1e9, "B"),
        count if count >= 1e6 => (count / 1e6, "M"),
        count if count >= 1e3 => (count / 1e3, "k"),
        count => return format!("{count}"),
    };
    let decimals = decimals(value, 3);
    format!("{value:.decimals$}{unit}")
}

fn three_digits(value: f64) -> f64 {
    if value < 1000.0 {
        return value;
    }
    let step = 10_f64.powi(value.log10().floor() as i32 - 2);
    (value / step).round() * step
}

/// Decimals that give `value` so many significant digits, at most three decimals.
fn decimals(value: f64, digits: usize) -> usize {
    let before_point = match value {
        value if value >= 1000.0 => 4,
        value if value >= 100.0 => 3,
        value if value >= 10.0 => 2,
        _ => 1,
    };
    digits.saturating_sub(before_point)
}

/// What of the targets is compared with the reference.
pub(crate) fn what_is_compared(result: &RunResult) -> &'static str {
    let mut tests = result.run.tests.iter();
    match tests.any(|test| test.as_serve().is_some()) {
        true => "Servers' log-probabilities compared",
        false => "Logits compared",
    }
}

/// How near a target is to the reference, in words.
pub(crate) fn fidelity(equivalence: &Equivalence) -> String {
    let Some(fidelity) = &equivalence.fidelity else {
        let reason = equivalence.reason.as_deref();
        return reason.unwrap_or("nothing was compared").to_owned();
    };
    let mut text = String::new();
    write!(
        text,
        "mean KL {:.1e} (largest {:.1e}), same token at {} of {} positions",
        fidelity.mean_kl, fidelity.largest_kl, fidelity.agreeing_positions, fidelity.positions
    )
    .expect("a String takes every write");
    if let Some(first) = &fidelity.first_divergence {
        write!(
            text,
            ", parts at position {} with a margin of {:.2}",
            first.position, first.margin
        )
        .expect("a String takes every write");
    }
    match &equivalence.reason {
        Some(reason) => format!("{text}; {reason}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (750.0, "750 ns"),
            (1_234.0, "1.23 µs"),
            (12_345_678.0, "12.3 ms"),
            (123_456_789.0, "123 ms"),
            (999_900_000.0, "1.00 s"),
            (61_250_000_000.0, "61.3 s"),
        ] {
            assert_eq!(time(ns), text);
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(bytes(512 << 20), "512 MiB");
        assert_eq!(bytes(3 << 29), "1.50 GiB");
        assert_eq!(bytes((1 << 30) - 1), "1.00 GiB");
        assert_eq!(
            (bytes(17), bytes(u64::MAX)),
            ("17 B".into(), "16.0 EiB".into())
        );
    }

    #[test]
    fn figures_have_the_digits_that_their_interval_is_worth() {
        let shown = |median, low, high| {
            let interval = Some(Interval { low, high });
            rate(&Estimate {
                median,
                interval,
                n: 5,
            })
        };
        assert_eq!(shown(24.123, 23.74, 24.5), "24.12 ± 0.38");
        assert_eq!(shown(24.78, 21.3, 28.0), "24.8 ± 3.5");
        assert_eq!(shown(16_052.0, 15_933.0, 16_170.0), "16050 ± 120");
        assert_eq!(shown(2.0, 2.0, 2.0), "2.000 ± 0.000");
        assert_eq!(rate(&Estimate::of(&[2.6]).unwrap()), "2.600");
    }

    #[test]
    fn a_lopsided_interval_is_shown_from_end_to_end() {
        let shown = |low, high| {
            let interval = Some(Interval { low, high });
            rate(&Estimate {
                median: 389.8,
                interval,
                n: 5,
            })
        };
        assert_eq!(shown(210.0, 1102.0), "390 (210-1100)");
        // One per cent isn't worth more words.
        assert_eq!(shown(389.0, 393.7), "389.8 ± 3.9");
    }

    #[test]
    fn shares_and_limits_have_three_digits_at_most() {
        assert_eq!(
            (share(0.733), share(0.0421)),
            ("73 %".into(), "4.2 %".into())
        );
        assert_eq!(bandwidth(38.149e9), "38.1 GB/s");
        assert_eq!(operations(1.65e11), "165 GFLOP/s");
    }

    #[test]
    fn counts_have_a_magnitude() {
        assert_eq!(count(268_098_176), "268M");
        assert_eq!(count(2_614_341_888), "2.61B");
        assert_eq!(count(999), "999");
    }
}
