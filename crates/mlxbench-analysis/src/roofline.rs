//! Rates as shares of what the machine can do: MBU (memory bandwidth utilisation) of decode and
//! MFU (FLOPs utilisation) of prefill. Source of the terms: Databricks, "LLM Inference Performance
//! Engineering: Best Practices", 2023 (MBU); Chowdhery et al., "PaLM", 2022, appendix B (MFU).
//!
//! Bytes and operations are counted from the model's configuration (`GemmaConfig::decode_step_bytes`
//! and `prefill_operations`), limits are measured in the same run. The limit of a device is the
//! largest that any probe reached on it, whichever framework it was in: so a framework that makes
//! poor use of the hardware shows a small share, not a small limit.

use std::collections::BTreeMap;

use mlxbench_core::results::{Metric, ProductProbe, RunResult, StreamProbe, TargetId, Test};
use mlxbench_core::{Device, Dtype, Placement};
use serde::Serialize;

/// A limit and the probe that reached it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// Bytes a second, or operations a second.
    pub per_second: f64,
    /// Which probe: `STREAM read`, `tch/cpu/f32 lm_head`.
    pub source: String,
}

/// What a device can do at most, as far as this run has seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DeviceLimits {
    /// Memory, in bytes a second, whatever the dtype.
    pub bandwidth: Option<Limit>,
    /// Matrix products, in operations a second, a dtype that is computed in.
    pub matmul: BTreeMap<Dtype, Limit>,
}

/// The limits of every device that was probed, by the name of the hardware: `cpu`, `gpu`, `gpu:1`.
pub fn device_limits(result: &RunResult) -> BTreeMap<String, DeviceLimits> {
    let mut limits: BTreeMap<String, DeviceLimits> = BTreeMap::new();
    for stream in &result.streams {
        let cpu = limits.entry(hardware(&Device::cpu())).or_default();
        let source = format!("STREAM {}", stream.kernel.name());
        raise(&mut cpu.bandwidth, stream_rate(stream), source);
    }
    for product in &result.products {
        let placement = &product.target.placement;
        let device = limits.entry(hardware(&placement.device)).or_default();
        let dtype = placement.precision.compute();
        let source = format!("{} {}", computing(&product.target), product.part);
        if product.shape.rows == 1 {
            raise(&mut device.bandwidth, Some(read_rate(product)), source);
        } else {
            let mut limit = device.matmul.remove(&dtype);
            raise(&mut limit, Some(operation_rate(product)), source);
            device.matmul.extend(limit.map(|limit| (dtype, limit)));
        }
    }
    limits
}

/// A target with its weights in the dtype that it computes in: so were the products of its probes.
fn computing(target: &TargetId) -> TargetId {
    TargetId {
        placement: Placement {
            device: target.placement.device.clone(),
            precision: target.placement.precision.compute().into(),
        },
        ..target.clone()
    }
}

/// What a target's own framework reached: bytes a second in its best product with one row, and
/// operations a second in its best with many.
pub fn own_limits(result: &RunResult, target: &TargetId) -> (Option<Limit>, Option<Limit>) {
    let (mut bandwidth, mut matmul) = (None, None);
    for product in result
        .products
        .iter()
        .filter(|probe| probe.target == *target)
    {
        match product.shape.rows {
            1 => raise(
                &mut bandwidth,
                Some(read_rate(product)),
                product.part.clone(),
            ),
            _ => raise(
                &mut matmul,
                Some(operation_rate(product)),
                product.part.clone(),
            ),
        }
    }
    (bandwidth, matmul)
}

/// What a token costs at least, on the mean of a test's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Multiplications and additions.
    pub operations: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl Work {
    /// Arithmetic intensity: operations a byte (Williams, Waterman & Patterson, "Roofline", 2009).
    pub fn intensity(&self) -> f64 {
        self.operations / self.bytes
    }
}

/// What a token of the test's prompt costs: its operations, and its share of the weights, which
/// every chunk reads once as far as it needs them, and of the keys and values. `None` without a prompt, and where the
/// model's shapes aren't known.
pub fn prefill_work(result: &RunResult, target: &TargetId, test: &Test) -> Option<Work> {
    let config = result.run.model.config.as_ref()?;
    let storage = result.storage_of(target)?;
    let (rows, depth, prompt) = (test.rows(), test.depth(), test.prompt_tokens());
    let tokens = (rows * prompt) as f64;
    let chunk = result.run.settings.chunk;
    let chunks = prompt.div_ceil(chunk.max(1));
    let cache = config.kv_read_bytes(storage.kv_cache, rows, depth + prompt);
    let unread = chunks.saturating_sub(1) as f64 * config.unread_by_chunks(&storage) as f64;
    let weights = chunks as f64 * storage.multiplied_bytes() as f64;
    let bytes = weights - unread + cache as f64;
    let operations = config.prefill_operations(rows, depth, prompt, chunk);
    test.yields(Metric::Prefill).then(|| Work {
        operations: operations as f64 / tokens,
        bytes: bytes / tokens,
    })
}

/// What a token of the test's decode steps costs. `None` when it has none, and where the model's
/// shapes aren't known.
pub fn decode_work(result: &RunResult, target: &TargetId, test: &Test) -> Option<Work> {
    let config = result.run.model.config.as_ref()?;
    // The steps of a conversation are of many depths.
    test.as_generate()?;
    let storage = result.storage_of(target)?;
    let (rows, steps) = (test.rows(), test.steps());
    // The first token comes from the prompt; the first step finds the prompt in the cache.
    let first = test.context();
    let tokens = (steps * rows) as f64;
    test.yields(Metric::Decode).then(|| Work {
        operations: config.decode_operations(rows, first, steps) / tokens,
        bytes: config.decode_bytes(&storage, rows, first, steps) / tokens,
    })
}

/// MBU of one token a second: the share of the device's bandwidth that a decode rate of 1 token a
/// second uses. `None` where the model's shapes or the limit aren't known.
pub fn mbu_per_rate(result: &RunResult, target: &TargetId, test: &Test) -> Option<f64> {
    let limits = device_limits(result);
    let device = limits.get(&hardware(&target.placement.device))?;
    let limit = device.bandwidth.as_ref()?;
    let work = decode_work(result, target, test)?;
    Some(work.bytes / limit.per_second)
}

/// MFU of one token a second: the share of the device's matmul rate that a prefill rate of 1 token
/// a second uses. `None` where the model's shapes or the limit aren't known.
pub fn mfu_per_rate(result: &RunResult, target: &TargetId, test: &Test) -> Option<f64> {
    let limits = device_limits(result);
    let device = limits.get(&hardware(&target.placement.device))?;
    let limit = device.matmul.get(&target.placement.precision.compute())?;
    let work = prefill_work(result, target, test)?;
    Some(work.operations / limit.per_second)
}

/// The least memory that a target needs: weights, and what [`Test::state_bytes`] counts. `None` where the model's
/// shapes aren't known.
pub fn memory_floor_bytes(result: &RunResult, target: &TargetId, test: &Test) -> Option<u64> {
    let config = result.run.model.config.as_ref()?;
    let storage = result.storage_of(target)?;
    Some(storage.weights_bytes() + test.state_bytes(config, storage.kv_cache))
}

/// Bytes a second; `None` when no time passed.
pub fn stream_rate(stream: &StreamProbe) -> Option<f64> {
    Some(stream.moved_bytes as f64 / stream.time_ns.as_secs_f64()).filter(|rate| rate.is_finite())
}

fn read_rate(product: &ProductProbe) -> f64 {
    let precision = product.target.placement.precision;
    let bytes = product.shape.weight_bytes(precision.compute());
    bytes as f64 / product.time_ns.as_secs_f64()
}

fn operation_rate(product: &ProductProbe) -> f64 {
    product.shape.operations() as f64 / product.time_ns.as_secs_f64()
}

fn raise(limit: &mut Option<Limit>, rate: Option<f64>, source: String) {
    let known = limit.as_ref().map_or(0.0, |limit| limit.per_second);
    if let Some(per_second) = rate.filter(|rate| rate.is_finite() && *rate > known) {
        *limit = Some(Limit { per_second, source });
    }
}

/// One name for what frameworks call by several: `mps`, `gpu`, `metal` and `cuda` are the machine's
/// GPU, which is Apple's or NVIDIA's and never both.
pub fn hardware(device: &Device) -> String {
    match (device.kind(), device.index()) {
        ("mps" | "gpu" | "metal" | "cuda", 0) => "gpu".into(),
        ("mps" | "gpu" | "metal" | "cuda", index) => format!("gpu:{index}"),
        _ => device.hardware().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;
    use mlxbench_core::probe::ProductShape;
    use mlxbench_core::results::StreamKernel;
    use mlxbench_core::{Nanos, Precision};

    use super::*;
    use crate::fixture;

    fn product(target: &str, part: &str, rows: usize, time_ns: u64) -> ProductProbe {
        let shape = ProductShape {
            rows,
            in_features: 1000,
            out_features: 1000,
        };
        ProductProbe {
            target: target.parse().unwrap(),
            part: part.into(),
            shape,
            time_ns: Nanos(time_ns),
        }
    }

    /// Memory at 40 GB/s by STREAM, 50 by a product; f32 products at 20 GFLOP/s.
    fn probed() -> RunResult {
        let mut result = fixture::result(Vec::new());
        result.run.model.config = Some(preset("gemma-3-270m").unwrap().config());
        result.streams = vec![StreamProbe {
            kernel: StreamKernel::Read,
            threads: 2,
            moved_bytes: 4_000_000,
            time_ns: Nanos(100_000),
        }];
        result.products = vec![
            product("mock/cpu/f32", "o", 1, 100_000),
            product("tch/cpu/f32", "qkv", 1, 80_000),
            product("tch/cpu/f32", "qkv", 10, 1_000_000),
            product("mock/cpu/f32", "o", 10, 4_000_000),
            product("tch/cpu/bf16", "o", 10, 100_000),
        ];
        result
    }

    #[test]
    fn a_devices_limit_is_the_best_that_any_probe_reached() {
        let limits = device_limits(&probed());
        let cpu = &limits["cpu"];
        let bandwidth = cpu.bandwidth.as_ref().unwrap();
        assert_eq!(bandwidth.source, "tch/cpu/f32 qkv");
        assert!((bandwidth.per_second - 50e9).abs() < 1.0);
        assert!((cpu.matmul[&Dtype::F32].per_second - 20e9).abs() < 1.0);
        assert!((cpu.matmul[&Dtype::Bf16].per_second - 200e9).abs() < 1.0);
    }

    #[test]
    fn a_framework_has_limits_of_its_own() {
        let result = probed();
        let (bandwidth, matmul) = own_limits(&result, &fixture::target());
        assert!((bandwidth.unwrap().per_second - 40e9).abs() < 1.0);
        assert!((matmul.unwrap().per_second - 5e9).abs() < 1.0);
        let stranger = "mlx/cpu/f32".parse().unwrap();
        assert_eq!(own_limits(&result, &stranger), (None, None));
    }

    #[test]
    fn frameworks_names_of_the_gpu_are_one_device() {
        let named = |name: &str| hardware(&name.parse().unwrap());
        for name in ["mps", "gpu", "metal", "cuda"] {
            assert_eq!(named(name), "gpu");
        }
        assert_eq!(named("cuda:1"), "gpu:1");
        assert_eq!(named("cpu"), "cpu");
        assert_eq!(named("cuda:1+graph"), "gpu:1");
        assert_eq!(named("cpu+threads"), "cpu");
    }

    #[test]
    fn mbu_is_bytes_a_token_over_the_limit() {
        let result = probed();
        let config = result.run.model.config.clone().unwrap();
        let test = fixture::test(8, 3);
        // Two steps, with 8 and 9 tokens in the cache.
        let storage = config.storage(Dtype::F32.into());
        let bytes = |context| config.decode_step_bytes(&storage, 1, context) as f64;
        let expected = (bytes(8) + bytes(9)) / 2.0 / 50e9;
        let mbu = mbu_per_rate(&result, &fixture::target(), &test).unwrap();
        assert!(
            (mbu / expected - 1.0).abs() < 1e-9,
            "{mbu} is not {expected}"
        );
        // The weights are read once for all rows of a batch.
        let batched = fixture::resized(test, |test| test.batch = 4);
        let shared = mbu_per_rate(&result, &fixture::target(), &batched).unwrap();
        assert!(shared < mbu / 3.9, "{shared} of {mbu}");
        assert_eq!(
            mbu_per_rate(&result, &fixture::target(), &fixture::test(8, 0)),
            None
        );
    }

    #[test]
    fn mfu_is_operations_a_token_over_the_limit_of_the_dtype() {
        let result = probed();
        let config = result.run.model.config.clone().unwrap();
        let test = fixture::test(64, 0);
        let expected =
            config.prefill_operations(1, 0, 64, result.run.settings.chunk) as f64 / 64.0 / 20e9;
        let mfu = mfu_per_rate(&result, &fixture::target(), &test).unwrap();
        assert!(
            (mfu / expected - 1.0).abs() < 1e-9,
            "{mfu} is not {expected}"
        );
        let unprobed = "mock/cpu/f16".parse().unwrap();
        assert_eq!(mfu_per_rate(&result, &unprobed, &test), None);
    }

    #[test]
    fn quantised_weights_are_probed_in_the_dtype_that_is_computed_in() {
        let mut result = probed();
        let config = result.run.model.config.clone().unwrap();
        result.products = vec![
            product("mock/cpu/q4-bf16", "o", 1, 10_000),
            product("mock/cpu/q4-bf16", "o", 10, 1_000_000),
        ];
        let limits = device_limits(&result);
        // A million elements of two bytes in 10 us.
        let bandwidth = limits["cpu"].bandwidth.as_ref().unwrap();
        assert!((bandwidth.per_second - 200e9).abs() < 1.0);
        assert_eq!(bandwidth.source, "mock/cpu/bf16 o");
        assert!((limits["cpu"].matmul[&Dtype::Bf16].per_second - 20e9).abs() < 1.0);
        let precision: Precision = "q4-bf16".parse().unwrap();
        let target = "mock/cpu/q4-bf16".parse().unwrap();
        let test = fixture::test(8, 2);
        let expected = config.decode_step_bytes(&config.storage(precision), 1, 8) as f64 / 200e9;
        let mbu = mbu_per_rate(&result, &target, &test).unwrap();
        assert!(
            (mbu / expected - 1.0).abs() < 1e-9,
            "{mbu} is not {expected}"
        );
        assert!(mfu_per_rate(&result, &target, &test).is_some());
    }

    #[test]
    fn the_floor_is_weights_and_cache() {
        let floor = memory_floor_bytes(&probed(), &fixture::target(), &fixture::test(8, 3));
        assert_eq!(floor, Some(4 * (268_098_176 + 18 * 512 * 10)));
    }
}
