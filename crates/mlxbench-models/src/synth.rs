//! Random weights in the exact shapes of a Gemma. Speed doesn't depend on their values, so nobody
//! needs a gated download to benchmark.

use std::cell::Cell;
use std::path::Path;

use half::{bf16, f16};
use mlxbench_core::gemma::TensorSpec;
use mlxbench_core::{Dtype, GemmaConfig, seed_of};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::Result;
use crate::progress::{Progress, Watch};
use crate::write::{self, Contents, SHARD_BYTES};

/// Numbers that 16 random bits can pick.
const QUANTILES: usize = 1 << 16;

/// Writes a model of random weights of `config`'s shapes to `folder`, the same for the same seed on
/// every machine. `watch` is told of each tensor.
///
/// Projections are normal with variance 1 / fan-in, so that each keeps the scale of what goes in;
/// embeddings have variance 1 / hidden_size, which Gemma's factor sqrt(hidden_size) makes 1; norms
/// are 1 ± 0.1 (stored less one, as Gemma does up to its third generation), and so are the other
/// factors that Gemma 4 has, but for its norms of queries and keys: without a factor on scores, these norms are
/// what keeps scores at a scale of 1, where other generations have 1 / sqrt(head_dim). Each layer then adds at most two vectors of scale
/// about 1 to the residual, which grows with the square root of depth: activations neither vanish
/// nor come near the end of f16.
///
/// # Errors
/// When the folder has something in it or can't be written.
pub fn write(
    config: &GemmaConfig,
    dtype: Dtype,
    seed: u64,
    folder: &Path,
    watch: Watch<'_>,
) -> Result<()> {
    let text = format!("{:#}\n", config.to_json(dtype)?);
    let tensors = config.tensors();
    let contents = Contents {
        config: &text,
        tensors: &tensors,
        dtype,
        shard_bytes: SHARD_BYTES,
    };
    let quantiles = standard_normal_quantiles();
    let what = format!("{} (random weights)", folder.display());
    let total_bytes = config.weights_bytes(dtype.into());
    let done = Cell::new(0);
    let tell = |bytes: usize| {
        done.set(done.get() + bytes as u64);
        watch(Progress {
            what: &what,
            done_bytes: done.get(),
            total_bytes,
        });
    };
    tell(0);
    let produce = |spec: &TensorSpec| {
        let bytes = tensor(spec, numbers(spec, config), dtype, seed, &quantiles);
        tell(bytes.len());
        Ok(bytes)
    };
    write::model(folder, &contents, produce, |_| Ok(()))
}

/// The centres of 65536 equally likely slices of the standard normal distribution.
fn standard_normal_quantiles() -> Vec<f32> {
    let normal = Normal::standard();
    let centre = |slice: usize| (slice as f64 + 0.5) / QUANTILES as f64;
    (0..QUANTILES)
        .map(|slice| normal.inverse_cdf(centre(slice)) as f32)
        .collect()
}

/// What a tensor's numbers are drawn from.
#[derive(Clone, Copy)]
struct Numbers {
    mean: f32,
    deviation: f32,
}

fn numbers(spec: &TensorSpec, config: &GemmaConfig) -> Numbers {
    if let Some(columns) = spec.columns() {
        // Also of the embeddings, whose columns are the hidden size.
        return Numbers {
            mean: 0.0,
            deviation: (columns as f32).sqrt().recip(),
        };
    }
    if spec.name.ends_with(".bias") {
        return Numbers {
            mean: 0.0,
            deviation: 0.1,
        };
    }
    let factor = match config.norm_offset == 0.0 && is_of_scores(spec) {
        true => {
            let scale = config
                .layers
                .first()
                .map_or(1.0, |layer| layer.attention.scale());
            (scale * (spec.elements() as f64).sqrt()).powf(-0.5) as f32
        }
        false => 1.0,
    };
    Numbers {
        mean: factor - config.norm_offset as f32,
        deviation: 0.1 * factor,
    }
}

/// Whether it is the norm of queries or of keys, whose products are the scores.
fn is_of_scores(spec: &TensorSpec) -> bool {
    let names = [".q_norm.weight", ".k_norm.weight"];
    names.iter().any(|name| spec.name.ends_with(name))
}

/// The bytes of a tensor: each 16 random bits pick a quantile.
fn tensor(
    spec: &TensorSpec,
    numbers: Numbers,
    dtype: Dtype,
    seed: u64,
    quantiles: &[f32],
) -> Vec<u8> {
    let Numbers { mean, deviation } = numbers;
    let scaled = quantiles.iter().map(|quantile| mean + quantile * deviation);
    match dtype {
        Dtype::F32 => fill(
            spec,
            seed,
            &scaled.map(f32::to_le_bytes).collect::<Vec<_>>(),
        ),
        Dtype::Bf16 => fill(
            spec,
            seed,
            &scaled
                .map(|x| bf16::from_f32(x).to_le_bytes())
                .collect::<Vec<_>>(),
        ),
        Dtype::F16 => fill(
            spec,
            seed,
            &scaled
                .map(|x| f16::from_f32(x).to_le_bytes())
                .collect::<Vec<_>>(),
        ),
    }
}

fn fill<const N: usize>(spec: &TensorSpec, seed: u64, table: &[[u8; N]]) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed_of(seed, &spec.name));
    let mut bytes = vec![0; spec.elements() as usize * N];
    let (elements, _) = bytes.as_chunks_mut::<N>();
    for four in elements.chunks_mut(4) {
        let mut bits = random.next_u64();
        for element in four {
            *element = table[bits as u16 as usize];
            bits >>= 16;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    fn values(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
        let spec = TensorSpec {
            name: name.into(),
            shape: shape.to_vec(),
        };
        let numbers = numbers(&spec, &preset("gemma-3-270m").unwrap().config());
        let bytes = tensor(
            &spec,
            numbers,
            Dtype::F32,
            seed,
            &standard_normal_quantiles(),
        );
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_weights_and_another_others() {
        assert_eq!(values("a", &[5, 7], 1), values("a", &[5, 7], 1));
        assert_ne!(values("a", &[5, 7], 1), values("a", &[5, 7], 2));
        assert_ne!(values("a", &[5, 7], 1), values("b", &[5, 7], 1));
    }

    #[test]
    fn weights_never_change_between_versions() {
        let first: Vec<u32> = values("a", &[2, 4], 1)[..4]
            .iter()
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(first, EXPECTED);
    }

    const EXPECTED: [u32; 4] = [0x3e8b_6399, 0xbdf5_a7c0, 0xbedd_f3e3, 0xbd9c_c8fe];

    #[test]
    fn scores_have_a_scale_of_one_with_and_without_a_factor() {
        for name in ["gemma-3-270m", "gemma-4-e2b"] {
            let config = preset(name).unwrap().config();
            for spec in config.tensors().iter().filter(|spec| is_of_scores(spec)) {
                let norm = f64::from(numbers(spec, &config).mean) + config.norm_offset;
                let scale = config.layers[0].attention.scale();
                let scores = norm * norm * (spec.elements() as f64).sqrt() * scale;
                assert!(
                    (scores - 1.0).abs() < 1e-6,
                    "{name} {}: {scores}",
                    spec.name
                );
            }
        }
    }

    #[test]
    fn projections_keep_the_scale_of_what_goes_in() {
        let values = values("w", &[300, 400], 0);
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let variance = values.iter().map(|x| x * x).sum::<f32>() / n;
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((variance * 400.0 - 1.0).abs() < 0.02, "{variance}");
    }
}
