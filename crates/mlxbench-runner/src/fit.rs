//! Which of the presets fit a machine's memory.

use mlxbench_core::gemma::{PRESETS, Preset};
use mlxbench_core::{Dtype, GemmaConfig, Precision};
use serde::Serialize;

use crate::plan::worker_memory;

/// Tokens of context that a model is to have room for.
pub const CONTEXT: usize = 4096;

/// The largest preset that fits in a precision.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The precision.
    pub precision: Precision,
    /// The preset's name, and what it needs at least; `None` where not even the smallest fits.
    pub largest: Option<Fitting>,
}

/// A model and its size.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fitting {
    /// The preset's name.
    pub preset: &'static str,
    /// Weights and a KV cache of [`CONTEXT`] tokens.
    pub needed_bytes: u64,
}

/// The largest preset in each of a few precisions, of a machine with so much memory: a worker that holds more than
/// its share is killed.
pub fn fits(machine_bytes: u64) -> Vec<Fit> {
    let room = worker_memory(machine_bytes);
    let precisions = ["f32", "bf16", "q8-bf16", "q4-bf16"];
    let precisions = precisions.map(|name| name.parse().expect("written as precisions are"));
    let fit = |precision| Fit {
        precision,
        largest: largest(precision, room),
    };
    precisions.into_iter().map(fit).collect()
}

fn largest(precision: Precision, room: u64) -> Option<Fitting> {
    let sized = PRESETS.iter().map(|preset| (preset, preset.config()));
    let fitting = sized.filter(|(_, gemma)| needed(gemma, precision) <= room);
    let (preset, gemma) = fitting.max_by_key(|(_, gemma)| gemma.parameters())?;
    Some(Fitting {
        preset: preset.name,
        needed_bytes: needed(&gemma, precision),
    })
}

fn needed(gemma: &GemmaConfig, precision: Precision) -> u64 {
    let cache = gemma.kv_cache_bytes(precision.kv_cache(), 1, CONTEXT);
    gemma.weights_bytes(precision) + cache
}

/// The preset to begin with: a small Gemma 3 whose weights in bf16 fill an eighth of the memory at most, the
/// smallest where there is no accelerator.
pub fn first_model(machine_bytes: u64, has_accelerator: bool) -> &'static Preset {
    let bytes = |preset: &Preset| preset.config().weights_bytes(Dtype::Bf16.into());
    let family = PRESETS
        .iter()
        .filter(|preset| preset.name.starts_with("gemma-3-"));
    let smallest = family.clone().min_by_key(|preset| bytes(preset));
    let small = family.filter(|preset| has_accelerator && bytes(preset) <= machine_bytes / 8);
    let chosen = small.max_by_key(|preset| bytes(preset)).or(smallest);
    chosen.expect("there are presets of Gemma 3")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn names(memory: u64) -> Vec<Option<&'static str>> {
        let fits = fits(memory).into_iter();
        fits.map(|fit| fit.largest.map(|model| model.preset))
            .collect()
    }

    #[test]
    fn fewer_bits_fit_larger_models() {
        let names = names(16 * GIB);
        assert_eq!(names[0], Some("gemma-2-2b"));
        let parameters = names.iter().map(|name| {
            let preset = mlxbench_core::gemma::preset(name.unwrap()).unwrap();
            preset.config().parameters()
        });
        assert!(parameters.collect::<Vec<_>>().is_sorted());
    }

    #[test]
    fn nothing_fits_a_tiny_machine() {
        assert_eq!(names(GIB / 8), [None; 4]);
    }

    #[test]
    fn the_first_model_is_small() {
        let name = |bytes, accelerated| first_model(bytes, accelerated).name;
        assert_eq!(name(512 * GIB, false), "gemma-3-270m");
        assert_eq!(name(8 * GIB, true), "gemma-3-270m");
        assert_eq!(name(16 * GIB, true), "gemma-3-1b");
        assert_eq!(name(64 * GIB, true), "gemma-3-4b");
    }
}
