//! The SQL that `llama-bench -o sql` writes, as `sqlite3` reads it.

use serde_json::Value;

use super::Entry;
use crate::units::is_unprintable;

/// The columns that `scripts/compare-llama-bench.py` makes its own table of, with their types: those of every recent
/// llama-bench, so that entries of both go into one database.
const COLUMNS: [(&str, &str); 35] = [
    ("build_commit", "TEXT"),
    ("build_number", "INTEGER"),
    ("cpu_info", "TEXT"),
    ("gpu_info", "TEXT"),
    ("backends", "TEXT"),
    ("model_filename", "TEXT"),
    ("model_type", "TEXT"),
    ("model_size", "INTEGER"),
    ("model_n_params", "INTEGER"),
    ("n_batch", "INTEGER"),
    ("n_ubatch", "INTEGER"),
    ("n_threads", "INTEGER"),
    ("cpu_mask", "TEXT"),
    ("cpu_strict", "INTEGER"),
    ("poll", "INTEGER"),
    ("type_k", "TEXT"),
    ("type_v", "TEXT"),
    ("n_gpu_layers", "INTEGER"),
    ("split_mode", "TEXT"),
    ("main_gpu", "INTEGER"),
    ("no_kv_offload", "INTEGER"),
    ("flash_attn", "INTEGER"),
    ("tensor_split", "TEXT"),
    ("tensor_buft_overrides", "TEXT"),
    ("use_mmap", "INTEGER"),
    ("embeddings", "INTEGER"),
    ("no_op_offload", "INTEGER"),
    ("n_prompt", "INTEGER"),
    ("n_gen", "INTEGER"),
    ("n_depth", "INTEGER"),
    ("test_time", "TEXT"),
    ("avg_ns", "INTEGER"),
    ("stddev_ns", "INTEGER"),
    ("avg_ts", "REAL"),
    ("stddev_ts", "REAL"),
];

/// The first line, by which such a file is known again.
pub(crate) const HEAD: &str = "-- mlxbench's results for llama.cpp's compare-llama-bench.py: ";

/// The table where it isn't there yet, then an entry a statement.
pub(super) fn render(entries: &[Entry]) -> String {
    let types = COLUMNS.map(|(name, kind)| format!("  {name} {kind}"));
    let names = COLUMNS.map(|(name, _)| name);
    let mut text = format!(
        "{HEAD}sqlite3 llama-bench.sqlite < FILE\nCREATE TABLE IF NOT EXISTS llama_bench (\n{}\n);\n",
        types.join(",\n")
    );
    for entry in entries {
        let entry = serde_json::to_value(entry).expect("an entry's keys are strings");
        let values = names.map(|name| value(&entry[name]));
        text.push_str(&format!(
            "INSERT INTO llama_bench ({}) VALUES ({});\n",
            names.join(", "),
            values.join(", ")
        ));
    }
    text
}

/// A value of JSON as one of SQL.
fn value(value: &Value) -> String {
    match value {
        Value::Bool(is) => i32::from(*is).to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let text: String = text.chars().filter(|&c| !is_unprintable(c)).collect();
            format!("'{}'", text.replace('\'', "''"))
        }
        // What isn't finite is null in JSON.
        _ => "NULL".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quotes_are_doubled_and_no_text_leaves_its_line() {
        assert_eq!(
            value(&json!("it's\n'); DROP TABLE x; --")),
            "'it''s''); DROP TABLE x; --'"
        );
        assert_eq!(
            (value(&json!(true)), value(&json!(-1.5))),
            ("1".into(), "-1.5".into())
        );
        assert_eq!(value(&json!(f64::NAN)), "NULL");
    }
}
