//! What a target is called wherever a person reads of it: `PyTorch bf16`, `MLX q4-bf16 (CPU)`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mlxbench_core::results::TargetId;

/// A target's name: the framework's own, the precision, and what else tells it from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `PyTorch`.
    framework: String,
    /// `bf16`.
    precision: String,
    /// `CUDA`, `graphs`, `4 threads`: only what differs within the run.
    more: Vec<String>,
}

impl Name {
    /// The name where the precision is said beside it: `PyTorch (graphs)`.
    pub fn short(&self) -> String {
        format!("{}{}", self.framework, self.bracketed())
    }

    /// The framework's own name: `PyTorch`.
    pub fn framework(&self) -> &str {
        &self.framework
    }

    fn bracketed(&self) -> String {
        match self.more.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.more.join(", ")),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.bracketed();
        write!(f, "{} {}{bracketed}", self.framework, self.precision)
    }
}

/// The names of a run's targets; no two are alike.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<TargetId, Name>);

impl Names {
    /// Names `targets`; `framework` knows what a worker said of itself.
    pub fn new<'a>(
        targets: impl IntoIterator<Item = &'a TargetId>,
        framework: impl Fn(&TargetId) -> Option<String>,
    ) -> Self {
        let targets: BTreeSet<&TargetId> = targets.into_iter().collect();
        let hardware = |id: &TargetId| id.placement.device.hardware();
        let devices: BTreeSet<String> = targets.iter().map(|id| hardware(id).to_string()).collect();
        let name = |id: &TargetId| {
            let device = (devices.len() > 1).then(|| device(&hardware(id).to_string()));
            let way = id.placement.device.way().map(|way| match way {
                "graph" => "graphs".to_owned(),
                "ple-cpu" => "per-layer table on CPU".to_owned(),
                other => other.to_owned(),
            });
            let threads = id.threads.map(|threads| match threads.get() {
                1 => "1 thread".to_owned(),
                several => format!("{several} threads"),
            });
            let side = id.side.map(|side| side.name().to_uppercase());
            Name {
                framework: framework(id).unwrap_or_else(|| known(&id.backend).to_owned()),
                precision: id.placement.precision.to_string(),
                more: [device, way, threads, side].into_iter().flatten().collect(),
            }
        };
        let mut names: Vec<(&TargetId, Name)> =
            targets.into_iter().map(|id| (id, name(id))).collect();
        // Several workers around one framework.
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for (_, name) in &names {
            *count.entry(name.to_string()).or_default() += 1;
        }
        for (id, name) in &mut names {
            if count[&name.to_string()] > 1 {
                name.more.insert(0, id.backend.clone());
            }
        }
        Self(
            names
                .into_iter()
                .map(|(id, name)| (id.clone(), name))
                .collect(),
        )
    }

    /// The name of a target; its id in words where the run doesn't plan it.
    pub fn of(&self, target: &TargetId) -> Name {
        let named = self.0.get(target).cloned();
        named.unwrap_or_else(|| Name {
            framework: known(&target.backend).to_owned(),
            precision: target.placement.precision.to_string(),
            more: vec![target.placement.device.to_string()],
        })
    }
}

/// The framework behind a backend of ours, before a worker has said it.
fn known(backend: &str) -> &str {
    match backend {
        "tch" => "PyTorch",
        "mlx" => "MLX",
        "llama-cpp" => "llama.cpp",
        other => other,
    }
}

/// A device as people write it.
fn device(name: &str) -> String {
    match name {
        "cpu" => "CPU".into(),
        "gpu" => "GPU".into(),
        "mps" => "MPS".into(),
        "metal" => "Metal".into(),
        other => match other.split_once(':') {
            Some(("cuda", index)) => format!("CUDA {index}"),
            _ if other == "cuda" => "CUDA".into(),
            _ => other.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ids: &[&str]) -> Vec<String> {
        let ids: Vec<TargetId> = ids.iter().map(|id| id.parse().unwrap()).collect();
        let names = Names::new(&ids, |_| None);
        ids.iter().map(|id| names.of(id).to_string()).collect()
    }

    #[test]
    fn a_name_says_no_more_than_tells_targets_apart() {
        assert_eq!(
            names(&["tch/cpu/bf16", "mlx/cpu/f32"]),
            ["PyTorch bf16", "MLX f32"]
        );
        assert_eq!(
            names(&["tch/cuda/bf16", "tch/cuda+graph/bf16"]),
            ["PyTorch bf16", "PyTorch bf16 (graphs)"]
        );
        assert_eq!(
            names(&["mlx/gpu/q4-bf16", "mlx/cpu/q4-bf16"]),
            ["MLX q4-bf16 (GPU)", "MLX q4-bf16 (CPU)"]
        );
        assert_eq!(
            names(&["candle/cpu/f32/t1", "candle/cpu/f32/t4", "candle/cpu/f32@b"]),
            [
                "candle f32 (1 thread)",
                "candle f32 (4 threads)",
                "candle f32 (B)"
            ]
        );
    }

    #[test]
    fn workers_of_one_framework_are_told_apart() {
        let ids: [TargetId; 2] = ["one/cpu/f32", "two/cpu/f32"].map(|id| id.parse().unwrap());
        let names = Names::new(&ids, |_| Some("MLX".into()));
        let shown = ids.each_ref().map(|id| names.of(id).to_string());
        assert_eq!(shown, ["MLX f32 (one)", "MLX f32 (two)"]);
        assert_eq!(names.of(&ids[0]).short(), "MLX (one)");
    }
}
