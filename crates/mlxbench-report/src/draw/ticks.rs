//! Round numbers on an axis.

/// Round numbers from `low` to `high`, about `wanted` of them, 1, 2 or 5 times a power of ten apart
/// (Heckbert, "Nice Numbers for Graph Labels", *Graphics Gems*, 1990).
pub(super) fn linear(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let step = round_up(span / wanted.max(1) as f64);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|count| count as f64 * step).collect()
}

/// The smallest of 1, 2, 5, 10 times a power of ten that is at least `step`.
pub(super) fn round_up(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fits = |factor: &&f64| **factor * power >= step * (1.0 - 1e-9);
    factors.iter().find(fits).unwrap_or(&10.0) * power
}

/// Powers of ten from `low` to `high`, both positive, `wanted` at most; with 2 and 5 times them
/// between where there are few.
pub(super) fn logarithmic(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = (high / low).log10();
    let (factors, every): (&[f64], usize) = if decades * 3.0 <= wanted as f64 {
        (&[1.0, 2.0, 5.0], 1)
    } else {
        (&[1.0], (decades / wanted.max(1) as f64).ceil() as usize)
    };
    let powers = (first..=last)
        .step_by(every)
        .map(|power| 10_f64.powi(power));
    let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * power));
    let within = |tick: &f64| *tick >= low * (1.0 - 1e-9) && *tick <= high * (1.0 + 1e-9);
    let ticks: Vec<f64> = ticks.filter(within).collect();
    match ticks.as_slice() {
        // Between two powers, a logarithm is nearly straight.
        [] | [_] => linear(low, high, wanted),
        _ => ticks,
    }
}

/// Powers of two from `low` to `high`, both positive, every second, third ... of them where there are
/// more than `wanted`.
pub(super) fn doubling(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let first = (low.log2() - 1e-9).ceil() as i32;
    let last = (high.log2() + 1e-9).floor() as i32;
    let count = usize::try_from(last - first + 1).unwrap_or(0);
    let every = count.div_ceil(wanted.max(1)).max(1);
    let ticks: Vec<f64> = (first..=last)
        .step_by(every)
        .map(|power| 2_f64.powi(power))
        .collect();
    match ticks.as_slice() {
        // Between two powers, a logarithm is nearly straight.
        [] | [_] => linear(low, high, wanted),
        _ => ticks,
    }
}

/// A number as short as it goes, with three digits that count: `0.25`, `1500`, `2e-6`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        return format!("{digits}e{exponent}");
    }
    let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(linear(0.0, 28.3, 5), [0.0, 10.0, 20.0]);
        assert_eq!(linear(0.0, 1.0, 4), [0.0, 0.5, 1.0]);
        assert_eq!(linear(5.0, 5.0, 4), [5.0]);
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        assert_eq!(logarithmic(0.8, 120.0, 4), [1.0, 10.0, 100.0]);
        assert_eq!(logarithmic(1.0, 9.0, 4), [1.0, 2.0, 5.0]);
        assert_eq!(logarithmic(3.0, 4.0, 4), [3.0, 3.5, 4.0]);
        assert!(logarithmic(1e-12, 1.0, 5).len() <= 5);
    }

    #[test]
    fn doubling_ticks_are_powers_of_two() {
        assert_eq!(doubling(60.0, 560.0, 8), [64.0, 128.0, 256.0, 512.0]);
        assert_eq!(doubling(1.0, 4096.0, 5), [1.0, 8.0, 64.0, 512.0, 4096.0]);
        assert_eq!(
            doubling(300.0, 500.0, 4),
            [300.0, 350.0, 400.0, 450.0, 500.0]
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1500.0, "1500"),
            (12.5, "12.5"),
            (2e-6, "2e-6"),
            (1e7, "1e7"),
            (0.1 + 0.2, "0.3"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
