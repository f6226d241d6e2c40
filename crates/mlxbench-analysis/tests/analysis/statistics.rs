//! Our figures beside those of NumPy and SciPy, which scripts/oracles/statistics.py wrote.

use std::collections::BTreeMap;

use mlxbench_analysis::stats::{quantile, sorted};
use mlxbench_analysis::{
    CommonTrend, Estimate, Interval, Outliers, Pettitt, Trend, lag_one_autocorrelation,
    theil_sen_slope,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    samples: BTreeMap<String, Facts>,
    common_trends: Vec<Common>,
    ratios: Vec<Ratio>,
    pettitt: Vec<Change>,
}

#[derive(Deserialize)]
struct Facts {
    values: Vec<f64>,
    quantiles: Vec<(f64, f64)>,
    interval: Ends,
    outliers: BTreeMap<String, usize>,
    tau: f64,
    p_value: f64,
    slope: f64,
    change: f64,
    autocorrelation: f64,
}

/// From where to where the ends of an interval may lie: resamples differ.
#[derive(Deserialize)]
struct Ends {
    low: (f64, f64),
    high: (f64, f64),
}

#[derive(Deserialize)]
struct Common {
    cases: Vec<Vec<f64>>,
    p_value: f64,
    change: f64,
}

#[derive(Deserialize)]
struct Ratio {
    numerator: Vec<f64>,
    denominator: Vec<f64>,
    median: f64,
    interval: Ends,
}

#[derive(Deserialize)]
struct Change {
    name: String,
    values: Vec<f64>,
    k: u64,
    index: usize,
    /// From where to where it may lie: random orders differ.
    p_value: (f64, f64),
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../statistics.json")).expect("statistics.json")
}

fn assert_close(actual: Option<f64>, expected: f64, what: &str) {
    let close = actual.is_some_and(|actual| (actual - expected).abs() <= 1e-9 * expected.abs());
    assert!(close, "{what}: {actual:?} is not {expected}");
}

#[test]
fn quantiles_are_numpys() {
    for (name, facts) in golden().samples {
        let sorted = sorted(&facts.values);
        for (p, expected) in facts.quantiles {
            assert_close(quantile(&sorted, p), expected, &format!("{name} at {p}"));
        }
    }
}

#[test]
fn intervals_are_scipys() {
    for (name, facts) in golden().samples {
        assert_interval(Estimate::of(&facts.values), &facts.interval, &name);
    }
}

fn assert_interval(estimate: Option<Estimate>, expected: &Ends, what: &str) {
    let Interval { low, high } = estimate
        .and_then(|estimate| estimate.interval)
        .expect("enough samples");
    let lies = |end: f64, (from, to): (f64, f64)| from <= end && end <= to;
    assert!(lies(low, expected.low), "{what} from {low}");
    assert!(lies(high, expected.high), "{what} to {high}");
}

#[test]
fn ratios_are_scipys() {
    for expected in golden().ratios {
        let ratio = Estimate::of_ratio(&expected.numerator, &expected.denominator);
        let what = format!("{:?} to {:?}", expected.numerator, expected.denominator);
        assert_close(ratio.map(|ratio| ratio.median), expected.median, &what);
        assert_interval(ratio, &expected.interval, &what);
    }
}

#[test]
fn outliers_are_numpys() {
    for (name, facts) in golden().samples {
        let expected = Outliers {
            low_severe: facts.outliers["low_severe"],
            low_mild: facts.outliers["low_mild"],
            high_mild: facts.outliers["high_mild"],
            high_severe: facts.outliers["high_severe"],
        };
        assert_eq!(Outliers::of(&facts.values), Some(expected), "{name}");
    }
}

#[test]
fn trends_are_scipys() {
    for (name, facts) in golden().samples {
        let trend = Trend::of(&facts.values).unwrap();
        assert_close(Some(trend.tau), facts.tau, &format!("tau of {name}"));
        assert_close(Some(trend.p_value), facts.p_value, &format!("p of {name}"));
        assert_close(
            Some(trend.change),
            facts.change,
            &format!("change of {name}"),
        );
        assert_close(theil_sen_slope(&facts.values), facts.slope, &name);
    }
}

#[test]
fn common_trends_are_scipys() {
    for expected in golden().common_trends {
        let common = CommonTrend::of(expected.cases.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(common.cases, expected.cases.len());
        assert_close(Some(common.p_value), expected.p_value, "p");
        assert_close(Some(common.change), expected.change, "change");
    }
}

#[test]
fn autocorrelations_are_numpys() {
    for (name, facts) in golden().samples {
        let autocorrelation = lag_one_autocorrelation(&facts.values);
        assert_close(autocorrelation, facts.autocorrelation, &name);
    }
}

#[test]
fn changes_of_level_are_scipys() {
    for Change {
        name,
        values,
        k,
        index,
        p_value: (low, high),
    } in golden().pettitt
    {
        let found = Pettitt::of(&values).unwrap();
        assert_eq!((found.k, found.index), (k, index), "{name}");
        let lies = low * (1.0 - 1e-9) <= found.p_value && found.p_value <= high * (1.0 + 1e-9);
        assert!(lies, "{name}: {found:?} is not from {low} to {high}");
    }
}
