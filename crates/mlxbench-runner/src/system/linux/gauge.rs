//! The state of devices that aren't NVIDIA's.

use mlxbench_core::Device;

use crate::system::gauge::Gauge;

/// # Errors
/// Always: a processor's clock is each core's own, and what throttles it isn't told to all.
pub(crate) fn open(_device: &Device) -> Result<Box<dyn Gauge>, String> {
    Err("on Linux, clocks and temperatures are read of NVIDIA GPUs alone".into())
}
