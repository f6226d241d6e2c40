//! A GitHub table below a header that says what was measured where.

use mlxbench_analysis::summarize;
use mlxbench_core::results::{Residency, RunResult, Verdict};

use crate::cells::{Cells, FIGURES, HEADER, cells};
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
            "date",
            run.started.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        ),
        (
            "settings",
            format!(
                "{} repetitions after {} of warm-up, {}, chunks of {} tokens, seed {}, {residency}",
                settings.repetitions,
                settings.warmup,
                settings.mode.name(),
                settings.chunk,
                settings.seed,
            ),
        ),
    ]
}

/// One line of text that others wrote, with everything escaped that GitHub's Markdown or HTML
/// would take for markup.
fn escape(text: &str) -> String {
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
