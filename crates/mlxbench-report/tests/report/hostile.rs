//! Result files that say anything: each is refused in words, or everything that is shown of it is made
//! without a panic.

use mlxbench_analysis::comparison::Options;
use mlxbench_analysis::{compare, compare_sides};
use mlxbench_core::gemma::preset;
use mlxbench_core::results::{RunResult, migrate};
use mlxbench_report::{Beside, ComparisonFormat, Format, render, render_comparison};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::over_time;

/// A result with something of everything in it.
fn whole() -> Value {
    let old = include_str!("../../../mlxbench-core/tests/results/v1.json");
    let mut result =
        serde_json::to_value(migrate::result(old).expect("a result")).expect("plain data");
    let config = preset("gemma-3-270m").expect("a preset").config();
    result["run"]["model"]["config"] = serde_json::to_value(config).expect("plain data");
    result["run"]["settings"]["max_seconds"] = json!(60.0);
    result["run"]["power"] = json!([{"device": "cpu", "source": "RAPL", "idle_watts": 5.0}]);
    result["streams"] =
        json!([{"kernel": "read", "threads": 2, "moved_bytes": 1 << 30, "time_ns": 50_000_000}]);
    let target = result["run"]["targets"][0].clone();
    let mut q4 = target.clone();
    q4["placement"]["precision"] = json!("q4-f32");
    let mut facts = result["targets"][0].clone();
    facts["id"] = q4.clone();
    facts["storage"] = json!({"layers_bytes": 1 << 26, "tables_bytes": 1 << 27, "others_bytes": 1 << 12,
        "kv_cache": "f32", "activations": "int8"});
    let add = |list: &mut Value, one| list.as_array_mut().expect("a list").push(one);
    add(&mut result["run"]["targets"], q4);
    add(&mut result["targets"], facts);
    let perplexity = json!({"value": 14.2, "standard_error": 0.4});
    result["quantisation_costs"] = json!([{"weights": "q4", "reason": "a note", "figures":
        {"text": "a text", "positions": 2112, "mean_kl": 0.03, "p99_kl": 0.2, "same_top_positions": 1966,
         "full_perplexity": perplexity, "perplexity": perplexity}}]);
    let shape = json!({"rows": 1, "in_features": 640, "out_features": 1536});
    result["products"] =
        json!([{"target": target, "part": "qkv", "shape": shape, "time_ns": 100_000}]);
    for sample in result["samples"].as_array_mut().expect("a list") {
        sample["wall_ns"] = json!(90_000_000);
        sample["timeline"] = json!({"every_ns": 20_000_000, "memory_bytes": [1 << 20, 1 << 30]});
        sample["energy_joules"] = json!(1.5);
    }
    result
}

/// The places of a document's values, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                places(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Values that nobody expects.
fn hostile() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1_u64 << 24),
            json!(1_u64 << 53),
            json!(1e308),
            json!(-1e-308),
            json!(0.1),
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!(""),
            json!("\u{1b}[2J\u{202e}<script>|`"),
            json!("x".repeat(5000)),
            json!("9999-12-31T23:59:59Z"),
            json!("-009999-01-02T01:59:59Z"),
        ]),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}

/// The document with each of the changes made at some place, which the numbers choose.
fn changed(changes: &[(prop::sample::Index, Value)]) -> Value {
    let mut document = whole();
    for (place, value) in changes {
        let mut found = Vec::new();
        places(&document, "", &mut found);
        let pointer = &found[place.index(found.len())];
        *document.pointer_mut(pointer).expect("found above") = value.clone();
    }
    document
}

fn show(result: &RunResult) {
    let one = std::slice::from_ref(result);
    for format in [
        Format::Html,
        Format::Terminal { width: None },
        Format::Terminal { width: Some(60) },
        Format::Markdown,
        Format::Csv,
        Format::Json,
        Format::LlamaBenchJson,
        Format::LlamaBenchMarkdown,
        Format::BiggerIsBetter,
        Format::SmallerIsBetter,
        Format::Sql,
        Format::Tex,
        Format::Bencher,
    ] {
        render(one, &Beside::default(), format);
    }
    let other: RunResult = serde_json::from_value(whole()).expect("a result");
    let mut both = vec![compare(&other, result, &Options::default())];
    both.push(compare(result, &other, &Options::default()));
    both.extend(compare_sides(result, &Options::default()));
    for comparison in &both {
        render_comparison(comparison, ComparisonFormat::Text);
        render_comparison(comparison, ComparisonFormat::Junit);
    }
    over_time(&[other, result.clone()]);
}

fn cases() -> u32 {
    let asked = std::env::var("MLXBENCH_FUZZ_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

#[test]
fn the_whole_result_is_read_and_shown() {
    show(&migrate::result(&whole().to_string()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_result_that_lies_is_refused_or_shown(
        changes in prop::collection::vec((any::<prop::sample::Index>(), hostile()), 1..4)
    ) {
        if let Ok(result) = migrate::result(&changed(&changes).to_string()) {
            show(&result);
        }
    }

    #[test]
    fn any_text_is_a_result_or_refused(text in any::<String>(), cut in any::<prop::sample::Index>()) {
        let _ = migrate::result(&text);
        let whole = whole().to_string();
        let _ = migrate::result(&whole[..cut.index(whole.len())]);
    }
}
