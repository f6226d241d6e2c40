//! Pairs that were measured together, beside confseq: `scripts/oracles/betting.py` writes the numbers.

use mlxbench_analysis::evidence::{Evidence, Margins, Pairs, Place, judge};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    margin: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    /// For each row the logarithms of what base and new had, by block and round.
    rows: Vec<[Vec<[f64; 2]>; 2]>,
    /// The upper end of each row's interval, were it alone.
    uppers: Vec<Option<f64>>,
    places: Vec<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../betting.json")).expect("betting.json")
}

fn pairs([base, new]: &[Vec<[f64; 2]>; 2]) -> Pairs {
    let rounds = base.as_flattened().iter().zip(new.as_flattened());
    let rounds: Vec<[f64; 2]> = rounds.map(|(base, new)| [base.exp(), new.exp()]).collect();
    Pairs::new(&rounds, 2).expect("figures are positive")
}

#[test]
fn ends_of_intervals_are_where_confseqs_bettor_has_enough() {
    for case in golden().cases {
        for (row, expected) in case.rows.iter().zip(&case.uppers) {
            let row = pairs(row);
            match (row.upper(row.alone()), expected) {
                (Some(upper), Some(expected)) => {
                    assert!((upper - expected).abs() < 1e-9, "{upper} isn't {expected}");
                }
                (upper, expected) => assert_eq!(upper, *expected),
            }
        }
    }
}

#[test]
fn what_is_claimed_is_what_every_set_of_rows_rules_out() {
    let Golden { margin, cases } = golden();
    let margins = Margins {
        low: -margin,
        high: margin,
    };
    for case in cases {
        let rows: Vec<Pairs> = case.rows.iter().map(pairs).collect();
        let judged = judge(&rows, &vec![margins; rows.len()]);
        let name = |place| match place {
            Place::Below => "below",
            Place::Within => "within",
            Place::Above => "above",
            Place::Open => "open",
        };
        let places: Vec<&str> = judged.iter().map(|row| name(row.place)).collect();
        assert_eq!(places, case.places);
    }
}
