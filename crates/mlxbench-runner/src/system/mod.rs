//! The machine: what it is, what state it is in, what it spends, and what a process has used. The
//! only place that knows operating systems apart: `linux` and `macos` have the same functions in
//! files of the same names. The other files are for both.
//!
//! | file | its functions |
//! |---|---|
//! | `facts` | `performance_cores`, `efficiency_cores`, `gpu`: what the machine has |
//! | `gauge` | `open`: the sensors of a device that isn't NVIDIA's |
//! | `conditions` | `power_source`, `low_power_mode`, `thermal_pressure`, `frequency_governor`: what state it is in |
//! | `memory` | `memory_bytes`, `peak_memory_bytes` of a process, `reset_peak` |
//! | `packages` | `openblas`, `performance_governor`: commands that mend what is amiss |
//! | `power` | `Meter`: the energy that the machine spends |

mod energy;
pub mod gauge;
mod lock;
mod machine;
mod nvidia;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(target_os = "macos", path = "macos/mod.rs")]
mod os;
mod readings;
mod sampler;
mod survey;
mod test_device;
// What macOS's tools print is read by pure functions, which every system tests.
#[cfg(any(test, target_os = "macos"))]
#[path = "macos/tools.rs"]
mod tools;

pub(crate) use energy::{EnergyMeter, Idle, Measure, idle};
pub use lock::{LockError, MachineLock};
pub use machine::{available_memory_bytes, conditions, cores, machine, names};
pub use nvidia::{gpus as nvidia_gpus, process_memory_bytes};
pub use os::memory::{memory_bytes, peak_memory_bytes, reset_peak};
pub use os::packages;
pub use os::power::Meter;
pub(crate) use readings::DeviceSampler;
pub use sampler::MemorySampler;
pub use survey::{Survey, survey};
