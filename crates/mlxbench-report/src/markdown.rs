//! A GitHub table below a header that says what was measured where.

use mlxbench_core::results::{Residency, Test, Verdict};

use crate::answer::answer;
use crate::cells::{self, Cells, FIGURES, HEADER, cells};
use crate::chat;
use crate::conditions;
use crate::external::External;
use crate::first::{Compact, banner, by_kind, caveats, compact, sureness};
use crate::limits::{details, limits};
use crate::machine::processors;
use crate::partings;
use crate::quantisation;
use crate::table::Table;
use crate::warnings::warnings;
use crate::{Beside, Digest, checks, serving, trials, units};

/// One section a result, then what stands beside them.
pub(crate) fn render(digests: &[Digest<'_>], beside: &Beside) -> String {
    let own = digests.iter().map(section);
    let others = beside.others.iter().map(external);
    let matrices = &beside.matrices;
    let matrices = (!matrices.is_empty()).then(|| trials::markdown(matrices));
    let sections: Vec<String> = own.chain(others).chain(matrices).collect();
    if sections.is_empty() {
        return "No results.\n".into();
    }
    sections.join("\n")
}

fn section(digest: &Digest<'_>) -> String {
    let result = digest.result;
    let mut lines = vec![format!("## {}", escape(&result.run.name)), String::new()];
    if let Some(description) = &result.run.description {
        lines.extend([escape(description), String::new()]);
    }
    for sentence in banner(result) {
        lines.extend([format!("> {}.", escape(&sentence)), String::new()]);
    }
    let answer = answer(digest);
    let headline = escape(&answer.headline);
    lines.extend([format!("**{headline}.**"), String::new()]);
    lines.extend(compact_tables(digest));
    let sure = sureness(digest)
        .into_iter()
        .chain(caveats(digest))
        .map(|said| escape(&said));
    let sure: Vec<String> = sure.collect();
    lines.extend([format!("How sure? {}.", sure.join(". ")), String::new()]);
    let standings = answer.standings.iter();
    let standings = standings.map(|(name, text)| (name.as_str(), text));
    let other = answer.facts.iter().map(|(name, text)| (*name, text));
    let said = standings.chain(other);
    lines.extend(said.map(|(name, text)| format!("- {}: {}", escape(name), escape(text))));
    lines.push(String::new());
    let facts = facts(digest);
    lines.extend(
        facts
            .iter()
            .map(|(name, value)| format!("- {name}: {}", escape(value))),
    );
    lines.push(String::new());
    lines.extend(rows(digest));
    lines.extend(equivalence_table(digest));
    let tables = [
        chat::tables(digest),
        checks::tables(digest),
        serving::tables(digest),
        quantisation::tables(digest),
    ];
    lines.extend(tables.into_iter().flatten().flat_map(with_heading));
    lines.extend(token_list(digest));
    lines.extend(limits_list(digest));
    lines.extend(energy_table(digest));
    lines.extend(conditions_table(digest));
    for warning in warnings(digest) {
        lines.extend([
            String::new(),
            format!("> **Warning:** {}", escape(&warning)),
        ]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The rows of another program.
fn external(external: &External) -> String {
    let machine = external
        .machine
        .as_deref()
        .unwrap_or("a machine it doesn't name");
    let intro = format!(
        "Measured by {} on {machine}, not by mlxbench.",
        external.tool
    );
    let rows = external
        .rows
        .iter()
        .map(|row| cells::external(external, row));
    let mut lines = vec![format!("## {}", escape(&external.file)), String::new()];
    lines.extend([escape(&intro), String::new()]);
    lines.extend(table_lines(rows));
    lines.extend(
        external
            .skipped
            .iter()
            .map(|skipped| format!("\n> Left out: {}", escape(skipped))),
    );
    lines.push(String::new());
    lines.join("\n")
}

/// What a document shows of a result: what was measured on which machine, and a table.
pub(crate) fn table(digest: &Digest<'_>) -> String {
    let run = &digest.result.run;
    let intro = format!(
        "{} ({}) on {}, {} cores, {}; {}, {}:",
        run.model.name,
        units::parameters(run.model.parameters),
        processors(digest.result),
        run.machine
            .physical_cores
            .unwrap_or(run.machine.logical_cores),
        run.machine.os,
        units::repetitions(digest.result),
        run.started.strftime("%Y-%m-%d"),
    );
    let table = compact_tables(digest).join("\n");
    format!("\n{}\n\n{table}\n", escape(&intro))
}

/// A table for each kind of test.
fn compact_tables(digest: &Digest<'_>) -> Vec<String> {
    let mut kinds = by_kind(&digest.result.run.tests);
    if kinds.is_empty() {
        kinds.push(Vec::new());
    }
    let tables = kinds.iter().map(|tests| compact_table(digest, tests));
    tables.flatten().collect()
}

/// A row for each framework and precision, the best of each precision in bold; with the test where there are several.
fn compact_table(digest: &Digest<'_>, tests: &[Test]) -> Vec<String> {
    let table = compact(digest, tests);
    let mut cells = table.lines.iter().flat_map(|line| &line.cells);
    let best = cells.any(|cell| cell.best && !cell.words.is_empty());
    let marks = [
        best.then_some("Bold: best of its precision, or within noise of it."),
        table
            .has_unsteady()
            .then_some("\\*: not steady, not ranked."),
    ];
    let marks: Vec<&str> = marks.into_iter().flatten().collect();
    let legend = (!marks.is_empty()).then(|| [String::new(), marks.join(" ")]);
    let Compact {
        columns,
        lines,
        figures,
    } = table;
    // One of another kind stands in another table.
    let several = digest.result.run.tests.len() > 1;
    let test = several.then_some("test");
    let head = ["target"]
        .into_iter()
        .chain(test)
        .chain(columns.iter().copied());
    let head: Vec<&str> = head.collect();
    let rule = (0..head.len()).map(|column| {
        let figure = (1..=figures).contains(&(column - usize::from(several).min(column)));
        if figure { "---:" } else { "---" }
    });
    let rows = lines.iter().map(|line| {
        let cells = line
            .cells
            .iter()
            .map(|cell| match (cell.words.is_empty(), cell.best) {
                (false, true) => format!("**{}**", escape(&cell.words)),
                _ => escape(&cell.words),
            });
        let mut cells: Vec<String> = cells.collect();
        if !line.fault.is_empty() {
            cells[0] = escape(&line.fault);
        }
        let test = several.then(|| line.test.to_string());
        let row = [escape(&line.name)].into_iter().chain(test).chain(cells);
        format!("| {} |", row.collect::<Vec<_>>().join(" | "))
    });
    let rule: Vec<&str> = rule.collect();
    let head = [
        format!("| {} |", head.join(" | ")),
        format!("| {} |", rule.join(" | ")),
    ];
    head.into_iter()
        .chain(rows)
        .chain(legend.into_iter().flatten())
        .chain([String::new()])
        .collect()
}

/// The lines of a result's table with all columns.
fn rows(digest: &Digest<'_>) -> Vec<String> {
    let rows = digest.summary.rows.iter();
    table_lines(rows.map(|row| cells(digest.result, row)))
}

fn table_lines(rows: impl Iterator<Item = Cells>) -> Vec<String> {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule = |column| {
        let rule = if FIGURES.contains(&column) {
            "---:"
        } else {
            "---"
        };
        rule.to_owned()
    };
    let rule: Vec<String> = (0..HEADER.len()).map(rule).collect();
    let mut lines = vec![line(&HEADER.map(str::to_owned)), line(&rule)];
    lines.extend(rows.map(|row| line(&row.map(|cell| escape(&cell)))));
    lines
}

/// How near each target is to the reference; nothing where none was compared.
fn equivalence_table(digest: &Digest<'_>) -> Vec<String> {
    let result = digest.result;
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
            let (target, verdict) = (digest.name(&known.target).to_string(), known.verdict.name());
            format!("| {} | {verdict} | {} |", escape(&target), escape(&figures))
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let what = units::what_is_compared(digest.result);
    let heading = format!("{what} with {}:", digest.name(reference));
    let head = [String::new(), escape(&heading), String::new()];
    let rule = ["| target | work | figures |", "| --- | --- | --- |"].map(str::to_owned);
    head.into_iter().chain(rule).chain(rows).collect()
}

/// A table below its heading and what is to be known of it.
fn with_heading(table: Table) -> Vec<String> {
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let rule = (0..table.header.len()).map(|column| match table.figures.contains(&column) {
        true => "---:".to_owned(),
        false => "---".to_owned(),
    });
    let head = [
        String::new(),
        format!("{}. {}", escape(&table.heading), escape(&table.about)),
        String::new(),
        format!("| {} |", table.header.join(" | ")),
        line(rule.collect()),
    ];
    let rows = table.rows.into_iter();
    let rows = rows.map(|cells| line(cells.iter().map(|cell| escape(cell)).collect()));
    head.into_iter().chain(rows).collect()
}

/// Whether timed tokens are the reference's; nothing where the reference wasn't timed.
fn token_list(digest: &Digest<'_>) -> Vec<String> {
    let lines = partings::lines(digest);
    if lines.is_empty() {
        return Vec::new();
    }
    let head = [String::new(), partings::HEADING.to_owned(), String::new()];
    let lines = lines.iter().map(|line| format!("- {}", escape(line)));
    head.into_iter().chain(lines).collect()
}

/// What the machine can do at most, and what each target's own framework reaches of it.
fn limits_list(digest: &Digest<'_>) -> Vec<String> {
    let devices = limits(digest);
    if devices.is_empty() {
        return Vec::new();
    }
    let lines = devices.into_iter().chain(details(digest));
    let lines = lines.map(|line| format!("- {}", escape(&line)));
    let head = "MBU and MFU are shares of the limits that probes measured in this run:";
    [String::new(), head.into(), String::new()]
        .into_iter()
        .chain(lines)
        .collect()
}

/// Power and energy of the targets that a meter was read for; nothing where there is none.
fn energy_table(digest: &Digest<'_>) -> Vec<String> {
    let Digest {
        result, summary, ..
    } = digest;
    let rows = summary.rows.iter().filter_map(|row| {
        let watts = units::rate(&row.watts?);
        let joules = row
            .joules_per_token
            .as_ref()
            .map(units::joules)
            .unwrap_or_default();
        let target = escape(&digest.name(&row.target).to_string());
        Some(format!(
            "| {target} | {} | {watts} | {joules} |",
            escape(&row.test.to_string())
        ))
    });
    let rows: Vec<String> = rows.collect();
    let meters = escape(&conditions::meters(result).join("; "));
    let has_meter = result.run.power.iter().any(|meter| meter.source.is_some());
    if rows.is_empty() && has_meter {
        return vec![String::new(), format!("No energy ({meters}).")];
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let head = [
        String::new(),
        format!("Energy ({meters}; without idle power):"),
        String::new(),
        "| target | test | mean watts | energy per token |".into(),
        "| --- | --- | ---: | ---: |".into(),
    ];
    head.into_iter().chain(rows).collect()
}

/// The state of the devices while they worked; nothing where none told of it.
fn conditions_table(digest: &Digest<'_>) -> Vec<String> {
    let rows = conditions::rows(digest);
    if rows.is_empty() {
        return Vec::new();
    }
    let line = |cells: [String; conditions::HEADER.len()]| {
        format!("| {} |", cells.map(|cell| escape(&cell)).join(" | "))
    };
    let head = [
        String::new(),
        "Device conditions (median clock, lowest and highest reading):".into(),
        String::new(),
        line(conditions::HEADER.map(str::to_owned)),
        format!("|{}", " --- |".repeat(conditions::HEADER.len())),
    ];
    head.into_iter().chain(rows.into_iter().map(line)).collect()
}

/// What was measured, where and how, as name and value.
pub(crate) fn facts(digest: &Digest<'_>) -> Vec<(&'static str, String)> {
    let run = &digest.result.run;
    let (model, machine, settings) = (&run.model, &run.machine, &run.settings);
    let cores = machine.physical_cores.unwrap_or(machine.logical_cores);
    let residency = match settings.residency {
        Residency::Together => "all workers loaded together",
        Residency::OneAtATime => "one worker loaded at a time",
    };
    let commit = run.mlxbench.commit.as_deref();
    let fingerprint = &digest.summary.fingerprint;
    vec![
        (
            "model",
            format!(
                "{} ({}, {}, {} stored)",
                model.source,
                model.architecture,
                units::parameters(model.parameters),
                units::bytes(model.stored_bytes),
            ),
        ),
        (
            "machine",
            format!(
                "{}, {cores} cores, {} of memory, {} {}",
                processors(digest.result),
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
                units::repetitions(digest.result),
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
        for character in word
            .chars()
            .filter(|&character| !units::is_unprintable(character))
        {
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
