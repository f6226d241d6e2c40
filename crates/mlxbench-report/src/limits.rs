//! What the machine can do at most, in words.

use mlxbench_analysis::roofline::device_limits;
use mlxbench_core::results::RunResult;

use crate::units;

/// One line a device that was probed: `cpu: reads 38.1 GB/s (STREAM read), multiplies ...`.
pub(crate) fn limits(result: &RunResult) -> Vec<String> {
    let devices = device_limits(result).into_iter();
    let lines = devices.map(|(device, limits)| {
        let read = limits.bandwidth.map(|limit| {
            let rate = units::bandwidth(limit.per_second);
            format!("reads {rate} ({})", limit.source)
        });
        let multiply = limits.matmul.iter().map(|(dtype, limit)| {
            let rate = units::operations(limit.per_second);
            format!("multiplies {dtype} at {rate} ({})", limit.source)
        });
        let parts: Vec<String> = read.into_iter().chain(multiply).collect();
        format!("measured limits of {device}: {}", parts.join("; "))
    });
    lines.collect()
}
