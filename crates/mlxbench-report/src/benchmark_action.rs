//! What github-action-benchmark reads: its tools `customBiggerIsBetter` and `customSmallerIsBetter`
//! take an array of named values, each file of one direction. It follows a value by its name, so a name
//! that two values had would make one line of both.

use mlxbench_core::results::{Residency, RunResult, Settings};
use serde::Serialize;

use crate::apart::{Apart, Facts};
use crate::figures::figures;
use crate::{Digest, quantisation, units};

/// One line of its chart.
#[derive(Serialize)]
struct Entry {
    name: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

/// Rates.
pub(crate) fn bigger_is_better(digests: &[Digest<'_>]) -> Vec<u8> {
    render(digests, true)
}

/// Times, peaks of memory, and what else is better where it is less.
pub(crate) fn smaller_is_better(digests: &[Digest<'_>]) -> Vec<u8> {
    render(digests, false)
}

fn render(digests: &[Digest<'_>], higher_is_better: bool) -> Vec<u8> {
    let mut entries = Vec::new();
    // Of which result each entry is.
    let mut of = Vec::new();
    for (
        at,
        Digest {
            result, summary, ..
        },
    ) in digests.iter().enumerate()
    {
        for row in &summary.rows {
            let fidelity = quantisation::fidelity(row).map(|fidelity| format!("; {fidelity}"));
            let wanted = figures(row).filter(|(one, _)| one.higher_is_better == higher_is_better);
            for (figure, estimate) in wanted {
                entries.push(Entry {
                    name: format!(
                        "{}: {} {} {}",
                        result.run.model.name, row.target, row.test, figure.name
                    ),
                    unit: figure.unit,
                    value: estimate.median,
                    range: estimate.half_width().map(|half| format!("± {half:.3}")),
                    extra: format!(
                        "median of {} repetitions{} on {}{}",
                        estimate.n,
                        units::in_processes(estimate.n, row.processes),
                        result.run.machine.cpu,
                        fidelity.as_deref().unwrap_or_default()
                    ),
                });
                of.push(at);
            }
        }
    }
    let names = entries.iter().map(|entry| entry.name.clone()).collect();
    for (entry, name) in entries.iter_mut().zip(told_apart(digests, names, &of)) {
        entry.name = name;
    }
    let written = serde_json::to_vec_pretty(&entries);
    let mut bytes = written.expect("its keys are strings, and a Vec takes every write");
    bytes.push(b'\n');
    bytes
}

/// The names, one of each result in `of`, with what tells those apart that several results share: what was asked
/// for, else where it ran, else a number in the order of the results.
pub(crate) fn told_apart(digests: &[Digest<'_>], names: Vec<String>, of: &[usize]) -> Vec<String> {
    let facts = |facts: fn(&RunResult) -> Facts| -> Vec<Facts> {
        digests.iter().map(|digest| facts(digest.result)).collect()
    };
    let (asked, origin) = (facts(asked), facts(origin));
    let asked: Vec<&Facts> = of.iter().map(|&at| &asked[at]).collect();
    let origin: Vec<&Facts> = of.iter().map(|&at| &origin[at]).collect();
    let said = Apart::new(names.clone()).by(&asked).by(&origin).numbered();
    let told = names.into_iter().zip(said);
    told.map(|(name, said)| match said.is_empty() {
        true => name,
        false => format!("{name} ({})", said.join(", ")),
    })
    .collect()
}

/// What a config asks for beyond a row's target and test.
fn asked(result: &RunResult) -> Facts {
    let run = &result.run;
    let Settings {
        chunk,
        threads,
        seed,
        delay_seconds,
        residency,
        ..
    } = &run.settings;
    let residency = match residency {
        Residency::Together => "together",
        Residency::OneAtATime => "one_at_a_time",
    };
    let mut facts = vec![
        ("config", run.name.clone()),
        ("model", run.model.source.clone()),
        ("chunk", chunk.to_string()),
        ("threads", threads.to_string()),
        ("seed", seed.to_string()),
        ("delay", format!("{delay_seconds} s")),
        ("residency", residency.into()),
    ];
    if let Some(sides) = &run.sides {
        facts.extend([("a", sides.a.clone()), ("b", sides.b.clone())]);
    }
    named(facts)
}

/// Which build ran on which machine.
fn origin(result: &RunResult) -> Facts {
    let run = &result.run;
    let gpu = run.machine.gpu.as_ref().map(|gpu| gpu.name.clone());
    let facts = [
        ("cpu", Some(run.machine.cpu.clone())),
        ("gpu", gpu),
        ("os", Some(run.machine.os.clone())),
        ("commit", run.mlxbench.commit.clone()),
        ("version", Some(run.mlxbench.version.clone())),
        ("profile", Some(run.mlxbench.profile.clone())),
    ];
    named(
        facts
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?))),
    )
}

fn named(facts: impl IntoIterator<Item = (&'static str, String)>) -> Facts {
    let owned = facts
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    owned.collect()
}
