//! What an `ops` benchmark leaves behind, on the page.

use std::io;

use mlxbench_report::breakdown::{Breakdown, BreakdownError};
use mlxbench_report::{Beside, Format, render};
use serde_json::{Value, json};

use crate::support::{BOTH, race};

/// What the benchmark of a backend writes: two parts and the layer that is made of them.
fn file(backend: &str) -> Value {
    let op = |phase: &str, part: &str, composite: bool, occurrences: usize| {
        json!({
            "phase": phase, "name": format!("{part} @ d512"), "part": part, "composite": composite,
            "occurrences": occurrences, "operations": 1, "bytes": 1,
            "criterion": format!("{backend}/{phase} {part}"),
        })
    };
    json!({
        "schema": 2,
        "identity": {"backend": backend, "framework": backend, "version": "1", "libraries": {}},
        "device": "cpu", "precision": "f32", "model": "gemma-3-270m", "threads": 2,
        "prefill_tokens": 512, "decode_depth": 512,
        "ops": [
            op("prefill", "lm_head", false, 1),
            op("decode", "attention", false, 18),
            op("decode", "lm_head", false, 1),
            op("decode", "layer", true, 18),
        ],
    })
}

/// Each run takes 1 ms, and between 0.9 and 1.2.
fn estimates(path: &str) -> io::Result<Vec<u8>> {
    assert!(path.ends_with("/new/estimates.json"), "{path}");
    let median = json!({
        "point_estimate": 1e6,
        "confidence_interval": {"confidence_level": 0.95, "lower_bound": 9e5, "upper_bound": 1.2e6},
        "standard_error": 1.0,
    });
    Ok(json!({"mean": median, "median": median})
        .to_string()
        .into_bytes())
}

fn read(file: &Value) -> Result<Option<Breakdown>, BreakdownError> {
    Breakdown::read("ops.json", file.to_string().as_bytes(), estimates)
}

fn page(breakdowns: Vec<Breakdown>) -> String {
    let beside = Beside {
        breakdowns,
        ..Beside::default()
    };
    let page = render(&[race(2, &[BOTH], 5)], &beside, Format::Html);
    String::from_utf8(page).expect("pages are UTF-8")
}

#[test]
fn a_pass_is_the_sum_of_its_parts_times_how_often_it_runs_them() {
    let breakdown = read(&file("candle")).expect("sound").expect("known");
    let page = page(vec![breakdown]);
    assert!(page.contains("Where the time goes: decode (gemma-3-270m, depth 512)"));
    // 18 ms and 1 ms; the layer is made of others.
    assert!(page.contains("candle/cpu/f32 19.0 ms"));
    assert!(page.contains("18.0 ms, 95 %"));
    assert!(page.contains("attention @ d512") && !page.contains("layer @ d512"));
}

#[test]
fn frameworks_stand_beside_each_other_part_by_part() {
    let of = |backend: &str| read(&file(backend)).expect("sound").expect("known");
    let page = page(vec![of("candle"), of("mlx")]);
    assert!(
        page.contains("attention: candle/cpu/f32: 18.0 ms"),
        "no heading a part"
    );
    assert!(page.contains("mlx/cpu/f32: 18.0 ms, 95 %"));
    assert!(!super::page::html(&[race(2, &[BOTH], 5)]).contains("Where the time goes"));
}

#[test]
fn what_is_something_else_or_broken_is_told_apart() {
    assert!(read(&json!({"ops": []})).expect("not ours").is_none());
    let mut other = file("candle");
    other["schema"] = json!(1);
    let message = read(&other).expect_err("another version").to_string();
    assert!(message.contains("schema 1") && message.contains("run the benchmark again"));
    let mut broken = file("candle");
    broken["ops"][0]["occurrences"] = json!("often");
    let message = read(&broken).expect_err("broken").to_string();
    assert!(
        message.contains("occurrences") || message.contains("often"),
        "{message}"
    );
    let gone = |_: &str| Err(io::Error::from(io::ErrorKind::NotFound));
    let text = file("candle").to_string();
    let message = Breakdown::read("ops.json", text.as_bytes(), gone).expect_err("gone");
    assert!(
        message
            .to_string()
            .contains("candle/prefill lm_head/new/estimates.json")
    );
}
