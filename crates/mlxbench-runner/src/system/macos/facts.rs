//! What the machine has, by macmon.

use macmon::SocInfo;
use mlxbench_core::results::Gpu;

/// Cores of the fastest kind.
pub(crate) fn performance_cores() -> Option<usize> {
    // From the slowest kind to the fastest.
    Some(SocInfo::new().ok()?.cpu_tiers.last()?.cores.into())
}

/// Cores of all slower kinds.
pub(crate) fn efficiency_cores() -> Option<usize> {
    let chip = SocInfo::new().ok()?;
    let (_fastest, slower) = chip.cpu_tiers.split_last()?;
    Some(slower.iter().map(|tier| usize::from(tier.cores)).sum())
}

/// The GPU of the chip.
pub(crate) fn gpu() -> Option<Gpu> {
    let chip = SocInfo::new().ok()?;
    Some(Gpu {
        name: chip.chip_name,
        cores: Some(chip.gpu_cores.into()),
    })
}
