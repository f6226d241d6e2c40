//! `llama-bench -o json` (arrays of entries) and `-o jsonl` (an entry a line), of any version, of
//! several runs in one file and with llama-bench's log around them; and our own
//! [`crate::llama_bench::json`].
//!
//! A pp entry has a prefill rate, a tg entry a decode rate. llama-bench waits for each token before
//! the next step, so its tg tests are [`Mode::Synchronous`]. A pg entry times prompt and generation
//! together: it has neither rate, and is skipped.

mod device;
mod entries;

use mlxbench_analysis::Estimate;
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{GenerateTest, Metric, TargetId, Test};
use serde_json::{Map, Value};

use super::{External, ExternalRow, Fault, UNKNOWN, quoted};
use crate::apart::Facts;

/// The key that only llama-bench's entries have. In a string of another file, its quotes would be
/// escaped.
const MARK: &str = "\"model_filename\"";

/// Keys of what was measured, and of what a row shows anyway: all others are how it was measured.
const SHOWN: [&str; 5] = ["n_prompt", "n_gen", "n_depth", "n_threads", "test_time"];

/// How the keys of figures begin.
const FIGURES: [&str; 3] = ["avg_", "stddev_", "samples_"];

/// Keys of who measured what, and where: not settings, and said only where all settings are alike.
const ORIGIN: [&str; 11] = [
    "build_number",
    "build_commit",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "cpu_info",
    "gpu_info",
    "mlxbench_version",
    "mlxbench_target",
    "mlxbench_mode",
];

/// Whether `text` is llama-bench's, whole or not.
pub(super) fn wrote(text: &str) -> bool {
    text.contains('{') && text.contains(MARK)
}

/// Which of llama-bench's other formats `text` is in, and on which line that shows. They have no raw
/// samples, and the table leaves out most settings.
pub(super) fn other_format(text: &str) -> Option<(usize, &'static str)> {
    let format = |line: &str| {
        let line = line.trim();
        if line.starts_with("build_commit,") && line.contains(",model_filename,") {
            Some("csv")
        } else if line.starts_with("INSERT INTO ") && line.contains("model_filename") {
            Some("sql")
        } else if is_table_head(line) {
            Some("md")
        } else {
            None
        }
    };
    let mut lines = text.lines().enumerate();
    lines.find_map(|(at, line)| Some((at + 1, format(line)?)))
}

/// Whether a line is the head of llama-bench's table, and not of ours.
fn is_table_head(line: &str) -> bool {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    cells.starts_with(&["", "model", "size", "params"]) && cells.ends_with(&["test", "t/s", ""])
}

/// Whether an object is an entry, and not a line of a log.
fn is_entry(keys: &Map<String, Value>) -> bool {
    ["n_prompt", "n_gen", "model_filename"]
        .iter()
        .any(|key| keys.contains_key(*key))
}

/// `None` when it is another program's after all.
pub(super) fn read(text: &str) -> Result<Option<External>, Fault> {
    let entries = entries::entries(text)?;
    if !entries.iter().any(|entry| entry.contains_key("n_gen")) {
        return Ok(None);
    }

    let (mut tools, mut machines) = (Vec::new(), Vec::new());
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for (index, keys) in entries.iter().enumerate() {
        let number = index + 1;
        let entry = Entry { number, keys };
        tools.push(entry.tool());
        machines.extend(entry.machine());
        let test = entry.test()?;
        if test.yields(Metric::Prefill) && test.generate_tokens() > 0 {
            skipped.push(format!(
                "entry {number}, {test}: one time for prompt and generation together gives neither a \
                 prefill nor a decode rate"
            ));
        } else {
            rows.push(entry.row(test)?);
        }
    }
    Ok(Some(External {
        tool: distinct(tools).join("; "),
        file: String::new(),
        machine: Some(distinct(machines).join("; ")).filter(|names| !names.is_empty()),
        rows,
        skipped,
    }))
}

fn distinct(names: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// An entry, counted from 1.
struct Entry<'a> {
    number: usize,
    keys: &'a Map<String, Value>,
}

impl Entry<'_> {
    fn fault(&self, key: &str, expected: &str) -> Fault {
        let found = match self.keys.get(key) {
            Some(value) => quoted(&value.to_string()),
            None => "nothing".into(),
        };
        let place = format!("entry {}", self.number);
        Fault::new(place, format!("{expected} as `{key}`, found {found}"))
    }

    fn text(&self, key: &str) -> Option<&str> {
        device::text(self.keys, key)
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>, Fault> {
        let Some(value) = self.keys.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(self.fault(key, "a whole number")),
        }
    }

    fn count(&self, key: &str) -> Result<usize, Fault> {
        let count = self.optional_count(key)?;
        count.ok_or_else(|| self.fault(key, "a whole number"))
    }

    fn tool(&self) -> String {
        let commit = self.text("build_commit").unwrap_or(UNKNOWN);
        if let Some(version) = self.text("mlxbench_version") {
            return format!("mlxbench {version} ({commit})");
        }
        match self.keys.get("build_number").and_then(Value::as_u64) {
            Some(number) => format!("llama-bench {number} ({commit})"),
            None => format!("llama-bench ({commit})"),
        }
    }

    fn machine(&self) -> Option<String> {
        let names = ["cpu_info", "gpu_info"].into_iter();
        let names: Vec<&str> = names.filter_map(|key| self.text(key)).collect();
        Some(names.join(", ")).filter(|names| !names.is_empty())
    }

    fn test(&self) -> Result<Test, Fault> {
        let (prompt_tokens, generate_tokens) = (self.count("n_prompt")?, self.count("n_gen")?);
        if prompt_tokens == 0 && generate_tokens == 0 {
            return Err(self.fault("n_gen", "tokens as `n_prompt` or"));
        }
        Ok(Test::Generate(GenerateTest {
            prompt_tokens,
            generate_tokens,
            // Versions before 2025 knew no depth.
            depth: self.optional_count("n_depth")?.unwrap_or(0),
            batch: 1,
            mode: self.mode(generate_tokens),
        }))
    }

    /// Ours where the entry is ours. A prompt has no steps to be ahead of.
    fn mode(&self, generate_tokens: usize) -> Mode {
        match (self.text("mlxbench_mode"), generate_tokens) {
            (Some(mode), _) if mode == Mode::Synchronous.name() => Mode::Synchronous,
            (Some(_), _) | (None, 0) => Mode::Pipelined,
            (None, _) => Mode::Synchronous,
        }
    }

    fn row(&self, test: Test) -> Result<ExternalRow, Fault> {
        let rate = self.rate(test.timed_tokens())?;
        let (prefill, decode) = match test.generate_tokens() {
            0 => (Some(rate), None),
            _ => (None, Some(rate)),
        };
        let [model, backend, device, dtype] = match self.text("mlxbench_target") {
            Some(target) => self.our_names(target)?,
            None => self.names(),
        };
        Ok(ExternalRow {
            model,
            backend,
            device,
            dtype,
            threads: self.optional_count("n_threads")?,
            test,
            prefill_tokens_per_second: prefill,
            decode_tokens_per_second: decode,
            peak_memory_bytes: None,
            settings: self.facts(|key| !ORIGIN.contains(&key)),
            origin: self.facts(|key| ORIGIN.contains(&key)),
            differs: Vec::new(),
        })
    }

    /// How the entry was measured, by key: those of versions to come are among them.
    fn facts(&self, wanted: impl Fn(&str) -> bool) -> Facts {
        let is_figure = |key: &str| FIGURES.iter().any(|begin| key.starts_with(begin));
        let keys = self.keys.iter();
        let keys = keys
            .filter(|(key, _)| !SHOWN.contains(&key.as_str()) && !is_figure(key) && wanted(key));
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let mut facts: Facts = keys
            .map(|(key, value)| (key.clone(), text(value)))
            .collect();
        facts.sort_unstable();
        facts
    }

    /// Model, backend, device and dtype of an entry that mlxbench wrote.
    fn our_names(&self, target: &str) -> Result<[String; 4], Fault> {
        let unread = |_| self.fault("mlxbench_target", "BACKEND/DEVICE/DTYPE");
        let target: TargetId = target.parse().map_err(unread)?;
        Ok([
            self.text("model_filename").unwrap_or(UNKNOWN).into(),
            target.backend,
            target.placement.device.to_string(),
            target.placement.precision.to_string(),
        ])
    }

    /// Model, backend, device and dtype. The model's file says more than its type.
    fn names(&self) -> [String; 4] {
        let kind = self.text("model_type");
        let path = self.text("model_filename").unwrap_or_default();
        let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let file = file.strip_suffix(".gguf").unwrap_or(file);
        let model = Some(file).filter(|file| !file.is_empty());
        [
            model.or(kind).unwrap_or(UNKNOWN).into(),
            "llama.cpp".into(),
            device::device(self.keys),
            kind.map_or(UNKNOWN.into(), dtype),
        ]
    }

    /// The raw samples; the mean where there are none.
    fn rate(&self, tokens: usize) -> Result<Estimate, Fault> {
        let key = ["samples_ts", "samples_ns", "avg_ts"].into_iter();
        let mut present = key.filter(|&key| match self.keys.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Array(samples)) => !samples.is_empty(),
            Some(_) => true,
        });
        let key = present.next().unwrap_or("avg_ts");
        let expected = match key {
            "avg_ts" => "a number above 0",
            _ => "numbers above 0",
        };
        let fault = || self.fault(key, expected);
        let values = match self.keys.get(key) {
            Some(Value::Array(values)) if key != "avg_ts" => values.as_slice(),
            Some(value) if key == "avg_ts" => std::slice::from_ref(value),
            _ => return Err(fault()),
        };
        let rates = values.iter().map(|value| match key {
            "samples_ns" => Some(tokens as f64 * 1e9 / value.as_f64()?),
            _ => value.as_f64(),
        });
        let sound = rates.map(|rate| rate.filter(|rate| rate.is_finite() && *rate > 0.0));
        let rates: Option<Vec<f64>> = sound.collect();
        rates
            .and_then(|rates| Estimate::of(&rates))
            .ok_or_else(fault)
    }
}

/// The weights' format in a model's type, which is architecture, size and format: `bf16` of
/// `gemma3 270M BF16`, `Q4_K - Medium` of `gemma3 1B Q4_K - Medium (guessed)`.
fn dtype(kind: &str) -> String {
    let mut words = kind.split_whitespace().skip(2);
    let format: Vec<&str> = words
        .by_ref()
        .filter(|word| !["all", "mostly", "(guessed)"].contains(word))
        .collect();
    match format.as_slice() {
        [] => UNKNOWN.into(),
        [float @ ("F32" | "F16" | "BF16")] => float.to_lowercase(),
        format => format.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_ends_in_its_format() {
        for (kind, format) in [
            ("gemma3 270M BF16", "bf16"),
            ("gemma 2B all F32", "f32"),
            ("llama 7B mostly Q4_0", "Q4_0"),
            ("gemma3 1B Q4_K - Medium (guessed)", "Q4_K - Medium"),
            ("gemma3", UNKNOWN),
        ] {
            assert_eq!(dtype(kind), format);
        }
    }
}
