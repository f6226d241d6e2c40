//! May two results be compared? A fingerprint of all that decides speed and isn't under test.

use std::collections::BTreeSet;
use std::fmt;

use mlxbench_core::results::{Machine, RunResult, TargetFacts, TargetId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Two results with equal fingerprints differ in what was changed between them and in nothing else
/// that is known: neither the version nor the commit of mlxbench is in it, nor when it ran. Rests after a
/// throttled repetition aren't in it either: they change only runs that were throttled, which say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fingerprint {
    /// The machine, its system, its state of power, and the compiler's flags.
    pub machine: String,
    /// The model, how it was measured, and the frameworks with their libraries.
    pub work: String,
}

/// The fingerprint of `result`.
pub fn fingerprint(result: &RunResult) -> Fingerprint {
    use DifferenceKind::{Build, Machine, Model, Prompts, Settings, Versions};
    Fingerprint {
        machine: digest_of(result, &[Machine, Build]),
        work: digest_of(result, &[Model, Prompts, Settings, Versions]),
    }
}

/// The machine's part of the [`Fingerprint`] without its system, its state of power and the compiler:
/// what results over time must have in common.
pub fn hardware(result: &RunResult) -> String {
    hardware_of(&result.run.machine, &result.run.mlxbench.profile)
}

/// The same of a machine that nothing was measured on yet, by mlxbench in a build of this profile.
pub fn hardware_of(machine: &Machine, profile: &str) -> String {
    let mut machine = facts_of(machine);
    machine.retain(|name, _| name != "os" && name != "kernel");
    digest(&json!([machine, profile]))
}

/// What a fingerprint covers of a machine: all of it, its memory in whole GiB, since each kernel keeps
/// some other megabytes to itself.
fn facts_of(machine: &Machine) -> Map<String, Value> {
    let gib = (machine.memory_bytes as f64 / f64::from(1 << 30)).round() as u64;
    let Value::Object(mut facts) = json!(machine) else {
        unreachable!("a struct is an object");
    };
    facts.remove("memory_bytes");
    facts.insert("memory GiB".into(), json!(gib));
    facts
}

/// Whether `text` could be one of the digests here: it names a folder of baselines, too.
pub fn is_digest(text: &str) -> bool {
    text.len() == 2 * DIGEST_BYTES && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// The work's part of the [`Fingerprint`] without the frameworks' versions: what results over time
/// must have in common.
pub fn workload(result: &RunResult) -> String {
    use DifferenceKind::{Model, Prompts, Settings};
    digest_of(result, &[Model, Prompts, Settings])
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

impl DifferenceKind {
    const ALL: [Self; 6] = [
        Self::Machine,
        Self::Build,
        Self::Versions,
        Self::Settings,
        Self::Model,
        Self::Prompts,
    ];

    /// What a fingerprint covers of this kind: values by their names.
    fn facts(self, result: &RunResult) -> Value {
        let run = &result.run;
        match self {
            Self::Machine => {
                let conditions = &run.conditions;
                json!({
                    "machine": facts_of(&run.machine),
                    "power source": conditions.power_source,
                    "low-power mode": conditions.low_power_mode,
                    "frequency governor": conditions.frequency_governor,
                })
            }
            Self::Build => json!({
                "build profile": run.mlxbench.profile,
                "compiler flags": run.mlxbench.compiler_flags,
            }),
            Self::Versions => {
                let targets = result.targets.iter();
                let targets = targets.map(|facts| (facts.id.to_string(), version(facts)));
                Value::Object(targets.collect())
            }
            Self::Settings => json!({
                "chunk": run.settings.chunk,
                "threads": run.settings.threads,
                "seed": run.settings.seed,
                "residency": run.settings.residency,
                "least warm-up": run.settings.warmup,
                "most warm-up": run.settings.max_warmup,
                "seconds of delay": run.settings.delay_seconds,
            }),
            Self::Model => json!({
                "model": {
                    "architecture": run.model.architecture,
                    "parameters": run.model.parameters,
                    "config": run.model.config,
                },
            }),
            Self::Prompts => json!({"prompts": run.prompts_sha256}),
        }
    }
}

/// What a target's worker is.
fn version(facts: &TargetFacts) -> Value {
    json!({"identity": facts.identity, "threads": facts.threads})
}

/// Something that a fingerprint covers, and that isn't the same in two results. It is shown as its
/// [`change`](Self::change), after its target where it has one.
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

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.target {
            write!(f, "{target}, ")?;
        }
        f.write_str(&self.change())
    }
}

impl Difference {
    /// `kernel was 6.1, is 6.2`.
    pub fn change(&self) -> String {
        format!("{} was {}, is {}", self.what, self.before, self.after)
    }
}

/// What differs between two results that a fingerprint covers; empty when they may be compared.
/// Of the targets those are compared that both have. The prompts' digest covers all tests of a run, so
/// it tells nothing where these differ.
pub fn differences(a: &RunResult, b: &RunResult) -> Vec<Difference> {
    let mut found = Vec::new();
    for kind in DifferenceKind::ALL {
        let mut differs = |target: Option<&TargetId>, before: &Value, after: &Value| {
            leaves("", before, after, &mut |path, before, after| {
                found.push(Difference {
                    kind,
                    target: target.cloned(),
                    what: name(path),
                    before: text(before),
                    after: text(after),
                });
            });
        };
        match kind {
            DifferenceKind::Versions => {
                for before in &a.targets {
                    let after = b.targets.iter().find(|after| after.id == before.id);
                    if let Some(after) = after {
                        differs(Some(&before.id), &version(before), &version(after));
                    }
                }
            }
            DifferenceKind::Prompts if a.run.tests != b.run.tests => {}
            _ => differs(None, &kind.facts(a), &kind.facts(b)),
        }
    }
    found
}

/// `model.config.head_dim` as people say it: `head dim of the model`.
fn name(path: &str) -> String {
    let leaf = path.rsplit('.').next().unwrap_or(path).replace('_', " ");
    match path.split_once('.') {
        Some(("model", _)) => format!("{leaf} of the model"),
        _ => leaf,
    }
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
    let (Value::Object(known), Value::Object(other)) = (a, b) else {
        if a != b {
            differs(path, a, b);
        }
        return;
    };
    let names: BTreeSet<&String> = known.keys().chain(other.keys()).collect();
    for name in names {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        leaves(&path, &a[name.as_str()], &b[name.as_str()], differs);
    }
}

fn digest_of(result: &RunResult, kinds: &[DifferenceKind]) -> String {
    let facts: Vec<Value> = kinds.iter().map(|kind| kind.facts(result)).collect();
    digest(&json!(facts))
}

/// How much of SHA-256 is kept.
const DIGEST_BYTES: usize = 8;

/// The first bytes of SHA-256, in hexadecimal digits.
fn digest(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string());
    digest
        .iter()
        .take(DIGEST_BYTES)
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
            (DifferenceKind::Machine, "memory GiB", false),
            (DifferenceKind::Versions, "version", true),
            (DifferenceKind::Versions, "threads", true),
            (DifferenceKind::Settings, "threads", false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_kernel_that_keeps_other_megabytes_is_no_other_machine() {
        let mut a = result(Vec::new());
        a.run.machine.memory_bytes = (24 << 30) - (470 << 20);
        let mut b = a.clone();
        b.run.machine.memory_bytes -= 3 << 20;
        assert_eq!(hardware(&a), hardware(&b));
        assert!(differences(&a, &b).is_empty());
        assert!(is_digest(&hardware(&a)) && !is_digest("results"));
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
