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

/// What computed, as short as people say it: the devices where frameworks named some, else the processor, without
/// marks and fillers.
pub(crate) fn short(result: &RunResult) -> String {
    let all = processors(result);
    let named = all
        .split_once(" with ")
        .map_or(all.as_str(), |(_, devices)| devices);
    let fillers = ["(R)", "(TM)", "(r)", "(tm)", " Processor", " CPU"];
    let short = fillers
        .iter()
        .fold(named.to_owned(), |name, filler| name.replace(filler, ""));
    match short.trim() {
        "" => all,
        short => short.to_owned(),
    }
}

/// Whether it was a Mac.
pub(crate) fn on_mac(result: &RunResult) -> bool {
    result.run.machine.os.contains("macOS")
}

/// What computed with its cores, memory and system.
pub(crate) fn whole(result: &RunResult) -> String {
    let machine = &result.run.machine;
    format!(
        "{}, {} cores, {} of memory, {}",
        processors(result),
        machine.physical_cores.unwrap_or(machine.logical_cores),
        crate::units::bytes(machine.memory_bytes),
        machine.os,
    )
}
