//! What computed, in words.

use std::collections::BTreeSet;

use mlxbench_core::Device;
use mlxbench_core::results::RunResult;

/// The processor, with the devices beside it that frameworks gave a name.
pub(crate) fn processors(result: &RunResult) -> String {
    let cpu = &result.run.machine.cpu;
    let on_device = result.targets.iter().filter(|facts| {
        let device = &facts.id.placement.device;
        device.kind() != Device::cpu().kind()
    });
    let named = on_device.filter_map(|facts| facts.device_description.as_ref());
    let beside: BTreeSet<&String> = named.filter(|name| *name != cpu).collect();
    let all = [cpu].into_iter().chain(beside);
    all.map(String::as_str).collect::<Vec<_>>().join(" with ")
}
