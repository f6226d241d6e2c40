//! A GitHub table below a header that says what was measured where.

use mlxbench_analysis::roofline::own_limits;
use mlxbench_analysis::{fingerprint, published_bandwidth, summarize};
use mlxbench_core::results::{Residency, RunResult, Verdict};

use crate::cells::{Cells, FIGURES, HEADER, cells};
use crate::limits::limits;
use crate::units;
use crate::warnings::warnings;

/// One section a result.
pub(crate) fn render(results: &[RunResult]) -> String {
    let sections: Vec<String> = results.iter().map(section).collect();
    if sections.is_empty() {
        return "No results.\n".into();
    }
    sections.join("\n")
}

fn section(result: &RunResult) -> String {
    let mut lines = vec![format!("## {}", escape(&result.run.name)), String::new()];
    if let Some(description) = &result.run.description {
        lines.extend([escape(description), String::new()]);
    }
    let facts = facts(result);
    lines.extend(
        facts
            .iter()
            .map(|(name, value)| format!("- {name}: {}", escape(value))),
    );
    lines.push(String::new());
    lines.push(table_line(&HEADER.map(str::to_owned)));
    let rule = |column| {
        if FIGURES.contains(&column) {
            "---:"
        } else {
            "---"
        }
    };
    lines.push(table_line(&std::array::from_fn(|c| rule(c).to_owned())));
    for row in &summarize(result).rows {
        lines.push(table_line(&cells(result, row).map(|cell| escape(&cell))));
    }
    lines.extend(equivalence_table(result));
    lines.extend(limits_list(result));
    lines.extend(energy_table(result));
    for warning in warnings(result) {
        lines.extend([
            String::new(),
            format!("> **Warning:** {}", escape(&warning)),
        ]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// How near each target is to the reference; nothing where none was compared.
fn equivalence_table(result: &RunResult) -> Vec<String> {
    let Some(reference) = &result.run.settings.reference else {
        return Vec::new();
    };
    let compared = result.equivalences.iter();
    let rows: Vec<String> = compared
        .map(|known| {
            let figures = match known.verdict {
                Verdict::Reference => String::new(),
                _ => units::fidelity(known),
            };
            let (target, verdict) = (known.target.to_string(), known.verdict.name());
            format!("| {} | {verdict} | {} |", escape(&target), escape(&figures))
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let heading = format!("The same work? Compared with {reference}:");
    let head = [String::new(), escape(&heading), String::new()];
    let rule = ["| target | work | figures |", "| --- | --- | --- |"].map(str::to_owned);
    head.into_iter().chain(rule).chain(rows).collect()
}

/// What the machine can do at most, and what each target's own framework reaches of it.
fn limits_list(result: &RunResult) -> Vec<String> {
    let devices = limits(result);
    if devices.is_empty() {
        return Vec::new();
    }
    let own = result.run.targets.iter().filter_map(|target| {
        let (bandwidth, matmul) = own_limits(result, target);
        let read = units::bandwidth(bandwidth?.per_second);
        let multiply = units::operations(matmul?.per_second);
        Some(format!(
            "{target}, its products alone: read {read}, multiply at {multiply}"
        ))
    });
    let published = result.run.machine.gpu.as_ref().and_then(|gpu| {
        let bytes = published_bandwidth(&gpu.name, gpu.cores)?;
        let rate = units::bandwidth(bytes as f64);
        Some(format!("{}, as published: {rate}", gpu.name))
    });
    let lines = devices.into_iter().chain(published).chain(own);
    let lines = lines.map(|line| format!("- {}", escape(&line)));
    let head = "MBU and MFU are shares of the limits that probes measured in this run:";
    [String::new(), head.into(), String::new()]
        .into_iter()
        .chain(lines)
        .collect()
}

/// Power and energy of the targets that a meter was read for; nothing where there is none.
fn energy_table(result: &RunResult) -> Vec<String> {
    let rows = summarize(result).rows;
    let rows = rows.iter().filter_map(|row| {
        let watts = units::rate(&row.watts?);
        let joules = row
            .joules_per_token
            .as_ref()
            .map(units::rate)
            .unwrap_or_default();
        let target = escape(&row.target.to_string());
        Some(format!(
            "| {target} | {} | {watts} | {joules} |",
            escape(&row.test.to_string())
        ))
    });
    let rows: Vec<String> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let meters = result.run.power.iter().filter_map(|meter| {
        let (source, idle) = (meter.source.as_ref()?, meter.idle_watts?);
        Some(format!(
            "{} by {source}, {idle:.1} W when idle",
            meter.device
        ))
    });
    let meters: Vec<String> = meters.collect();
    let head = [
        String::new(),
        format!(
            "Energy ({}; idle power is subtracted from joules a token):",
            escape(&meters.join("; "))
        ),
        String::new(),
        "| target | test | mean watts | joules a token |".into(),
        "| --- | --- | ---: | ---: |".into(),
    ];
    head.into_iter().chain(rows).collect()
}

fn table_line(cells: &Cells) -> String {
    format!("| {} |", cells.join(" | "))
}

/// What was measured, where and how, as name and value.
fn facts(result: &RunResult) -> Vec<(&'static str, String)> {
    let run = &result.run;
    let (model, machine, settings) = (&run.model, &run.machine, &run.settings);
    let cores = machine.physical_cores.unwrap_or(machine.logical_cores);
    let residency = match settings.residency {
        Residency::Together => "all workers loaded together",
        Residency::OneAtATime => "one worker loaded at a time",
    };
    let commit = run.mlxbench.commit.as_deref();
    let fingerprint = fingerprint(result);
    vec![
        (
            "model",
            format!(
                "{} ({}, {} parameters, {} stored)",
                model.source,
                model.architecture,
                units::count(model.parameters),
                units::bytes(model.stored_bytes),
            ),
        ),
        (
            "machine",
            format!(
                "{}, {cores} cores, {} of memory, {} {}",
                machine.cpu,
                units::bytes(machine.memory_bytes),
                machine.os,
                machine.arch,
            ),
        ),
        (
            "mlxbench",
            format!(
                "{} ({}, {} build)",
                run.mlxbench.version,
                commit.map_or("commit unknown".to_owned(), |c| format!("commit {c}")),
                run.mlxbench.profile,
            ),
        ),
        (
            "fingerprint",
            format!(
                "{} (machine), {} (work): results with both alike may be compared",
                fingerprint.machine, fingerprint.work
            ),
        ),
        (
            "date",
            run.started.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        ),
        (
            "settings",
            format!(
                "{} after {} to {} of warm-up, chunks of {} tokens, seed {}, {residency}",
                units::repetitions(settings),
                settings.warmup,
                settings.max_warmup,
                settings.chunk,
                settings.seed,
            ),
        ),
    ]
}

/// One line of text that others wrote, with everything escaped that GitHub's Markdown or HTML
/// would take for markup.
pub(crate) fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars().filter(|character| !character.is_control()) {
            if "\\`*_[]<>|~&#".contains(character) {
                line.push('\\');
            }
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_of_others_is_escaped() {
        assert_eq!(escape("a|b\nc `d`"), "a\\|b c \\`d\\`");
        assert_eq!(escape("<img src=x>"), "\\<img src=x\\>");
        assert_eq!(escape("tail\\"), "tail\\\\");
    }
}
