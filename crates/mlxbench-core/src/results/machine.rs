//! The machine that measured, and what state it was in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The machine that measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Operating system, with version.
    pub os: String,
    /// Kernel version.
    pub kernel: Option<String>,
    /// Instruction set: `x86_64`, `aarch64`.
    pub arch: String,
    /// Processor.
    pub cpu: String,
    /// Physical cores.
    pub physical_cores: Option<usize>,
    /// Physical cores of the fastest kind, where the processor has several kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_cores: Option<usize>,
    /// Physical cores of slower kinds, where the processor has several kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency_cores: Option<usize>,
    /// Hardware threads.
    pub logical_cores: usize,
    /// Main memory.
    pub memory_bytes: u64,
    /// The processor's own GPU, where the operating system names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// A GPU that shares the processor's chip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    /// The chip.
    pub name: String,
    /// Its GPU's cores.
    pub cores: Option<usize>,
}

/// What state the machine was in when the run started; each absent where it doesn't say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conditions {
    /// Where the power came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_source: Option<PowerSource>,
    /// Whether the system saved power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_power_mode: Option<bool>,
    /// How much the system slowed itself down for heat, in its own word; `nominal` is not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thermal_pressure: Option<String>,
    /// The share of all processors that was busy, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_busy: Option<f64>,
    /// The policy by which the processor's clock is scaled, where there is a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_governor: Option<String>,
}

/// Where the power comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerSource {
    /// The mains.
    Mains,
    /// A battery.
    Battery,
}
