//! llama-bench's table.

use std::collections::BTreeSet;

use super::Entry;
use crate::markdown::escape;

/// llama-bench's default for `n_batch`; its table shows only what differs.
const DEFAULT_BATCH: usize = 2048;

/// llama-bench's default for `n_ubatch`.
const DEFAULT_UBATCH: usize = 512;

/// The table, and the builds below it.
pub(super) fn render(entries: &[Entry]) -> String {
    let columns = columns(entries);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = columns.iter().map(|column| column.pad(column.name));
    let rule = columns.iter().map(Column::rule);
    let mut table = line(head.collect()) + &line(rule.collect());
    for entry in entries {
        let cells = columns.iter();
        let cells = cells.map(|column| column.pad(&escape(&(column.value)(entry))));
        table += &line(cells.collect());
    }
    let builds = entries.iter().map(|entry| {
        let commit = escape(&entry.build_commit);
        let version = escape(&entry.mlxbench_version);
        format!(
            "\nbuild: {commit} ({}), mlxbench {version}\n",
            entry.build_number
        )
    });
    let builds: BTreeSet<String> = builds.collect();
    builds.into_iter().fold(table, |text, build| text + &build)
}

/// A column of the table. Text stands left, figures right.
struct Column {
    name: &'static str,
    width: usize,
    right: bool,
    value: fn(&Entry) -> String,
}

impl Column {
    fn pad(&self, text: &str) -> String {
        let width = self.width;
        match self.right {
            true => format!("{text:>width$}"),
            false => format!("{text:<width$}"),
        }
    }

    fn rule(&self) -> String {
        let end = if self.right { ':' } else { '-' };
        "-".repeat(self.width - 1) + &end.to_string()
    }
}

/// llama-bench's columns, those included whose values aren't its defaults.
fn columns(entries: &[Entry]) -> Vec<Column> {
    let any = |differs: fn(&Entry) -> bool| entries.iter().any(differs);
    let accelerated = any(|entry| entry.n_gpu_layers != 0);
    let text = |name, width, value| Column {
        name,
        width,
        right: false,
        value,
    };
    let figure = |name, width, value| Column {
        name,
        width,
        right: true,
        value,
    };
    let shown = [
        (true, text("model", 30, |e| e.model_type.clone())),
        (true, figure("size", 10, |e| size(e.model_size))),
        (true, figure("params", 10, |e| parameters(e.model_n_params))),
        (true, text("backend", 10, |e| e.backends.clone())),
        (
            accelerated,
            figure("ngl", 3, |e| e.n_gpu_layers.to_string()),
        ),
        (true, figure("threads", 7, |e| e.n_threads.to_string())),
        (
            any(|e| e.n_batch != DEFAULT_BATCH),
            figure("n_batch", 7, |e| e.n_batch.to_string()),
        ),
        (
            any(|e| e.n_ubatch != DEFAULT_UBATCH),
            figure("n_ubatch", 8, |e| e.n_ubatch.to_string()),
        ),
        (accelerated, text("dev", 12, |e| e.devices.clone())),
        (true, figure("test", 15, test)),
        (
            true,
            figure("t/s", 20, |e| {
                format!("{:.2} ± {:.2}", e.avg_ts, e.stddev_ts)
            }),
        ),
    ];
    let shown = shown.into_iter().filter(|(is_shown, _)| *is_shown);
    shown.map(|(_, column)| column).collect()
}

fn test(entry: &Entry) -> String {
    let Entry {
        n_prompt,
        n_gen,
        n_depth,
        ..
    } = entry;
    let name = match n_gen {
        0 => format!("pp{n_prompt}"),
        _ => format!("tg{n_gen}"),
    };
    match n_depth {
        0 => name,
        _ => format!("{name} @ d{n_depth}"),
    }
}

fn size(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    match bytes {
        bytes if bytes < 1 << 30 => format!("{mebibytes:.2} MiB"),
        _ => format!("{:.2} GiB", mebibytes / 1024.0),
    }
}

fn parameters(count: u64) -> String {
    match count {
        count if count < 1_000_000_000 => format!("{:.2} M", count as f64 / 1e6),
        count => format!("{:.2} B", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_llama_benchs() {
        assert_eq!(size(536_196_352), "511.36 MiB");
        assert_eq!(size(3 << 29), "1.50 GiB");
        assert_eq!(parameters(268_098_176), "268.10 M");
        assert_eq!(parameters(2_614_341_888), "2.61 B");
    }
}
