//! May two results be compared? A fingerprint of all that decides speed and isn't under test.

use mlxbench_core::results::{Harness, RunResult};
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
    let mut machine = json!(result.run.machine);
    if let Some(machine) = machine.as_object_mut() {
        machine.retain(|name, _| name != "os" && name != "kernel");
    }
    digest(&json!([machine, result.run.mlxbench.profile]))
}

/// The work's part of the [`Fingerprint`] without the frameworks' versions: what results over time
/// must have in common.
pub fn workload(result: &RunResult) -> String {
    let mut parts = parts_of_work(result);
    if let Some(parts) = parts.as_object_mut() {
        parts.remove("the frameworks");
    }
    digest(&parts)
}

/// What differs between two results that a fingerprint covers, in words; empty when they may be
/// compared.
pub fn differences(a: &RunResult, b: &RunResult) -> Vec<String> {
    let both = |parts: fn(&RunResult) -> Value| {
        let (a, b) = (parts(a), parts(b));
        let names: Vec<String> = a
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| b[name.as_str()] != **value)
            .map(|(name, _)| name.clone())
            .collect();
        names
    };
    let machine = both(parts_of_machine);
    machine.into_iter().chain(both(parts_of_work)).collect()
}

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
        "build profile": profile,
        "compiler flags": compiler_flags,
    })
}

fn parts_of_work(result: &RunResult) -> Value {
    let run = &result.run;
    let settings = &run.settings;
    let frameworks = result.targets.iter();
    let frameworks = frameworks.map(|facts| (facts.id.to_string(), json!(facts.identity)));
    json!({
        "the model": [json!(run.model.architecture), json!(run.model.parameters), json!(run.model.config)],
        "the prompts": run.prompts_sha256,
        "chunk": settings.chunk,
        "threads": settings.threads,
        "seed": settings.seed,
        "residency": settings.residency,
        "the frameworks": frameworks.collect::<serde_json::Map<_, _>>(),
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
        assert_ne!(fingerprint(&a).work, fingerprint(&b).work);
        let mut found = differences(&a, &b);
        found.sort_unstable();
        assert_eq!(found, ["the frameworks", "the machine", "threads"]);
    }
}
