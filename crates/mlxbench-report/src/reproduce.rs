//! A config that measures again what a result holds.

use std::fmt::Write as _;

use mlxbench_core::generate::Mode;
use mlxbench_core::results::{GenerateTest, Residency, RunResult, Test};

/// The config in TOML: the run's own where the result has it, else model, settings, tests and targets as they were in
/// the run. Results without it are of a time when all tests were generations.
pub(crate) fn config(result: &RunResult) -> String {
    let run = &result.run;
    if let Some(config) = &run.config {
        return config.trim_end().to_owned();
    }
    let settings = &run.settings;
    let mut lines = vec![
        format!("name = {}", quoted(&run.name)),
        String::new(),
        "[model]".into(),
        format!("source = {}", quoted(&run.model.source)),
        String::new(),
        "[measure]".into(),
        format!("repetitions = {}", settings.repetitions),
    ];
    let residency = match settings.residency {
        Residency::Together => "together",
        Residency::OneAtATime => "one_at_a_time",
    };
    if let Some(processes) = settings.processes {
        lines.push(format!("processes = {processes}"));
    }
    lines.extend([
        format!("warmup = {}", settings.warmup),
        format!("max_warmup = {}", settings.max_warmup),
        format!("chunk = {}", settings.chunk),
        format!("threads = {}", settings.threads),
        format!("seed = {}", settings.seed),
        format!("residency = \"{residency}\""),
    ]);
    let optional = [
        ("interval_percent", settings.interval_percent),
        ("max_seconds", settings.max_seconds),
    ];
    for (name, value) in optional {
        lines.extend(value.map(|value| format!("{name} = {value:?}")));
    }
    lines.extend(
        settings
            .max_repetitions
            .map(|most| format!("max_repetitions = {most}")),
    );
    let reference = settings.reference.as_ref().map(ToString::to_string);
    lines.extend([
        String::new(),
        "[equivalence]".into(),
        format!(
            "reference = {}",
            quoted(reference.as_deref().unwrap_or("none"))
        ),
    ]);
    if settings.compared_positions > 0 {
        lines.push(format!("positions = {}", settings.compared_positions));
    }
    if result.products.is_empty() && result.streams.is_empty() {
        lines.extend([String::new(), "[roofline]".into(), "probe = false".into()]);
    }
    lines.extend(
        run.tests
            .iter()
            .filter_map(Test::as_generate)
            .map(generation),
    );
    for target in &run.targets {
        let placement = &target.placement;
        let mut text = format!(
            "\n[[target]]\nbackend = {}\ndevice = {}\ndtypes = [\"{}\"]",
            quoted(&target.backend),
            quoted(&placement.device.to_string()),
            placement.precision
        );
        if let Some(threads) = target.threads {
            write!(text, "\nthreads = [{threads}]").expect("a String takes every write");
        }
        // One that a run compares with another worker is there twice.
        if !lines.contains(&text) {
            lines.push(text);
        }
    }
    lines.join("\n")
}

fn generation(test: &GenerateTest) -> String {
    let mut text = format!(
        "\n[[test]]\nprompt_tokens = {}\ngenerate_tokens = {}",
        test.prompt_tokens, test.generate_tokens
    );
    if test.depth > 0 {
        write!(text, "\ndepth = {}", test.depth).expect("a String takes every write");
    }
    if test.batch > 1 {
        write!(text, "\nbatch = {}", test.batch).expect("a String takes every write");
    }
    if test.mode == Mode::Synchronous {
        text.push_str("\nmode = \"synchronous\"");
    }
    text
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                write!(quoted, "\\u{:04X}", character as u32).expect("a String takes every write");
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_those_of_toml() {
        assert_eq!(quoted("a \"b\" \\ \n"), "\"a \\\"b\\\" \\\\ \\u000A\"");
    }
}
