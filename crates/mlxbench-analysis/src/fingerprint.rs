//! May two results be compared? A fingerprint of all that decides speed and isn't under test.

use std::collections::BTreeSet;

use mlxbench_core::results::{Harness, Machine, RunResult, TargetId};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Two results with equal fingerprints differ in what was changed between them and in nothing else
/// that is known: neither the version nor the commit of mlxbench is in it, nor when it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fingerprint {
    /// The machine, its system, its state of power, and the compiler's flags.
    pub machine: String,
    /// The model, how it was measured, and the frameworks with their libraries.
    pub work: String,
}

/// The fingerprint of `result`.
pub fn fingerprint(result: &RunResult) -> Fingerprint {
    Fingerprint {
        machine: digest(&parts_of_machine(result)),
        work: digest(&parts_of_work(result)),
    }
}

/// The machine's part of the [`Fingerprint`] without its system, its state of power and the compiler:
/// what results over time must have in common.
pub fn hardware(result: &RunResult) -> String {
    hardware_of(&result.run.machine, &result.run.mlxbench.profile)
}

/// The same of a machine that nothing was measured on yet, by mlxbench in a build of this profile.
pub fn hardware_of(machine: &Machine, profile: &str) -> String {
    let mut machine = json!(machine);
    if let Some(machine) = machine.as_object_mut() {
        machine.retain(|name, _| name != "os" && name != "kernel");
    }
    digest(&json!([machine, profile]))
}

/// The work's part of the [`Fingerprint`] without the frameworks' versions: what results over time
/// must have in common.
pub fn workload(result: &RunResult) -> String {
    let mut parts = parts_of_work(result);
    if let Some(parts) = parts.as_object_mut() {
        parts.remove(FRAMEWORKS);
    }
    digest(&parts)
}

/// What kind of thing differs between two results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The machine, its system, its state of power.
    Machine,
    /// How mlxbench was built.
    Build,
    /// A framework or a library of a target.
    Versions,
    /// How it was measured.
    Settings,
    /// The model.
    Model,
    /// The token ids.
    Prompts,
}

/// Something that a fingerprint covers, and that isn't the same in two results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its kind.
    pub kind: DifferenceKind,
    /// Which target's, where it is one target's.
    pub target: Option<TargetId>,
    /// Its name: `kernel`.
    pub what: String,
    /// In the first result, as JSON writes it.
    pub before: String,
    /// In the second.
    pub after: String,
}

/// What differs between two results that a fingerprint covers; empty when they may be compared.
/// The prompts' digest covers all tests of a run, so it tells nothing where these differ.
pub fn differences(a: &RunResult, b: &RunResult) -> Vec<Difference> {
    let mut found = Vec::new();
    let (machine, work) = (parts_of_machine, parts_of_work);
    leaves("", &machine(a), &machine(b), &mut |what, before, after| {
        found.push((None, what.to_owned(), before.clone(), after.clone()));
    });
    let mut compared = [work(a), work(b)];
    for parts in compared.iter_mut().filter_map(Value::as_object_mut) {
        parts.remove(FRAMEWORKS);
        if a.run.tests != b.run.tests {
            parts.remove(PROMPTS);
        }
    }
    let [before, after] = &compared;
    leaves("", before, after, &mut |what, before, after| {
        found.push((None, what.to_owned(), before.clone(), after.clone()));
    });
    for before in &a.targets {
        let after = b.targets.iter().find(|after| after.id == before.id);
        let Some(after) = after else { continue };
        let [was, is] = [before, after].map(|facts| {
            let (identity, threads) = (&facts.identity, facts.threads);
            json!({"identity": identity, "threads": threads})
        });
        leaves("", &was, &is, &mut |what, was, is| {
            let target = Some(before.id.clone());
            found.push((target, what.to_owned(), was.clone(), is.clone()));
        });
    }
    let difference = |(target, path, before, after): (Option<TargetId>, String, Value, Value)| {
        let top = path.split('.').next().unwrap_or_default();
        let kind = match top {
            _ if target.is_some() => DifferenceKind::Versions,
            BUILD_PROFILE | COMPILER_FLAGS => DifferenceKind::Build,
            MODEL => DifferenceKind::Model,
            PROMPTS => DifferenceKind::Prompts,
            "chunk" | "threads" | "seed" | "residency" => DifferenceKind::Settings,
            _ => DifferenceKind::Machine,
        };
        let what = match path.rsplit('.').next() {
            Some(leaf) if kind == DifferenceKind::Model => format!("{MODEL} ({leaf})"),
            Some(leaf) => leaf.replace('_', " "),
            None => path,
        };
        Difference {
            kind,
            target,
            what,
            before: text(&before),
            after: text(&after),
        }
    };
    found.into_iter().map(difference).collect()
}

/// A value as people write it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".into(),
        other => other.to_string(),
    }
}

/// Tells `differs` of every value that isn't the same in both, with its keys, joined by points.
fn leaves(path: &str, a: &Value, b: &Value, differs: &mut impl FnMut(&str, &Value, &Value)) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match (a, b) {
        (Value::Object(known), Value::Object(other)) => {
            let names: BTreeSet<&String> = known.keys().chain(other.keys()).collect();
            for name in names {
                leaves(&below(name), &a[name.as_str()], &b[name.as_str()], differs);
            }
        }
        (Value::Array(known), Value::Array(other)) if known.len() == other.len() => {
            for (a, b) in known.iter().zip(other) {
                leaves(path, a, b, differs);
            }
        }
        _ if a == b => {}
        _ => differs(path, a, b),
    }
}

const MODEL: &str = "the model";
const PROMPTS: &str = "the prompts";
const FRAMEWORKS: &str = "the frameworks";
const BUILD_PROFILE: &str = "build profile";
const COMPILER_FLAGS: &str = "compiler flags";

fn parts_of_machine(result: &RunResult) -> Value {
    let run = &result.run;
    let Harness {
        profile,
        compiler_flags,
        ..
    } = &run.mlxbench;
    json!({
        "the machine": run.machine,
        "power source": run.conditions.power_source,
        "low-power mode": run.conditions.low_power_mode,
        "frequency governor": run.conditions.frequency_governor,
        BUILD_PROFILE: profile,
        COMPILER_FLAGS: compiler_flags,
    })
}

fn parts_of_work(result: &RunResult) -> Value {
    let run = &result.run;
    let settings = &run.settings;
    let frameworks = result.targets.iter();
    let frameworks = frameworks.map(|facts| (facts.id.to_string(), json!(facts.identity)));
    json!({
        MODEL: {
            "architecture": run.model.architecture,
            "parameters": run.model.parameters,
            "config": run.model.config,
        },
        PROMPTS: run.prompts_sha256,
        "chunk": settings.chunk,
        "threads": settings.threads,
        "seed": settings.seed,
        "residency": settings.residency,
        FRAMEWORKS: frameworks.collect::<serde_json::Map<_, _>>(),
    })
}

/// Sixteen hexadecimal digits of SHA-256.
fn digest(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::result;

    #[test]
    fn commit_and_time_change_nothing() {
        let a = result(Vec::new());
        let mut b = a.clone();
        b.run.mlxbench.commit = Some("another".into());
        b.run.started = "2026-11-23T07:00:00Z".parse().unwrap();
        assert_eq!(fingerprint(&a), fingerprint(&b));
        assert!(differences(&a, &b).is_empty());
    }

    #[test]
    fn another_machine_and_other_work_are_told_apart_and_named() {
        let a = result(Vec::new());
        let mut b = a.clone();
        b.run.machine.memory_bytes *= 2;
        assert_ne!(fingerprint(&a).machine, fingerprint(&b).machine);
        assert_eq!(fingerprint(&a).work, fingerprint(&b).work);
        b.run.settings.threads += 1;
        b.targets[0].identity.version = "2".into();
        b.targets[0].threads += 1;
        assert_ne!(fingerprint(&a).work, fingerprint(&b).work);
        let found = differences(&a, &b);
        let found: Vec<_> = found
            .iter()
            .map(|known| (known.kind, known.what.as_str(), known.target.is_some()))
            .collect();
        let expected = [
            (DifferenceKind::Machine, "memory bytes", false),
            (DifferenceKind::Settings, "threads", false),
            (DifferenceKind::Versions, "version", true),
            (DifferenceKind::Versions, "threads", true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn prompts_of_other_tests_are_not_compared() {
        let mut a = result(Vec::new());
        a.run.prompts_sha256 = Some("one".into());
        let mut b = a.clone();
        b.run.prompts_sha256 = Some("two".into());
        assert_eq!(differences(&a, &b)[0].kind, DifferenceKind::Prompts);
        b.run.tests.push(crate::fixture::test(9, 0));
        assert_eq!(differences(&a, &b), []);
    }
}
