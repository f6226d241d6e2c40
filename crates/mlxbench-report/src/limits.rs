//! What the machine can do at most, in words.

use mlxbench_analysis::published_bandwidth;
use mlxbench_analysis::roofline::own_limits;
use mlxbench_core::results::TargetId;

use crate::{Digest, units};

/// One line a device that was probed: `cpu: reads 38.1 GB/s (STREAM read), multiplies ...`.
pub(crate) fn limits(digest: &Digest<'_>) -> Vec<String> {
    let devices = digest.summary.limits.iter();
    let lines = devices.map(|(device, limits)| {
        let read = limits.bandwidth.as_ref().map(|limit| {
            let rate = units::bandwidth(limit.per_second);
            format!("reads {rate} ({})", source(digest, &limit.source))
        });
        let multiply = limits.matmul.iter().map(|(dtype, limit)| {
            let rate = units::operations(limit.per_second);
            format!(
                "multiplies {dtype} at {rate} ({})",
                source(digest, &limit.source)
            )
        });
        let parts: Vec<String> = read.into_iter().chain(multiply).collect();
        format!("measured limits of {device}: {}", parts.join("; "))
    });
    lines.collect()
}

/// Which probe it was, with the name of its target: `candle f32 qkv`.
fn source(digest: &Digest<'_>, source: &str) -> String {
    let target = source
        .split_once(' ')
        .and_then(|(id, part)| Some((id.parse::<TargetId>().ok()?, part)));
    match target {
        Some((target, part)) => format!("{} {part}", digest.name(&target)),
        None => source.to_owned(),
    }
}

/// What is published of the machine, then what each target's own framework reached: a line each.
pub(crate) fn details(digest: &Digest<'_>) -> Vec<String> {
    let result = digest.result;
    let own = result.run.targets.iter().filter_map(|target| {
        let (bandwidth, matmul) = own_limits(result, target);
        let read = units::bandwidth(bandwidth?.per_second);
        let multiply = units::operations(matmul?.per_second);
        Some(format!(
            "{}, its products alone: read {read}, multiply at {multiply}",
            digest.name(target)
        ))
    });
    let published = result.run.machine.gpu.as_ref().and_then(|gpu| {
        let bytes = published_bandwidth(&gpu.name, gpu.cores)?;
        let rate = units::bandwidth(bytes as f64);
        Some(format!("{}, as published: {rate}", gpu.name))
    });
    published.into_iter().chain(own).collect()
}
