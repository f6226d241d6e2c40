//! What the machine has, by macmon.

use macmon::SocInfo;
use mlxbench_core::results::Gpu;

/// Cores of the fastest kind.
pub(crate) fn performance_cores() -> Option<usize> {
    // From the slowest kind to the fastest.
    Some(SocInfo::new().ok()?.cpu_tiers.last()?.cores.into())
}

/// Cores of the kind that Apple calls efficiency cores; some chips have none.
pub(crate) fn efficiency_cores() -> Option<usize> {
    let tiers = SocInfo::new().ok()?.cpu_tiers;
    let tier = tiers.into_iter().find(|tier| tier.label == "E")?;
    Some(tier.cores.into())
}

/// The GPU of the chip.
pub(crate) fn gpu() -> Option<Gpu> {
    let chip = SocInfo::new().ok()?;
    Some(Gpu {
        name: chip.chip_name,
        cores: Some(chip.gpu_cores.into()),
    })
}
