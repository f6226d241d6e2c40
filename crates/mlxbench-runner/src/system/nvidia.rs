//! NVIDIA GPUs, by NVML. It comes with the driver and is loaded when it is first asked for.

use std::sync::OnceLock;

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};

/// Reads the energy of one GPU: the whole board, whoever uses it. Since Volta.
#[derive(Debug)]
pub struct NvidiaMeter {
    device: Device<'static>,
    source: String,
    /// Millijoules when this was opened.
    start: u64,
}

impl NvidiaMeter {
    /// The meter of CUDA's device `index`.
    ///
    /// # Errors
    /// Why there is nothing to read, in words for people.
    pub fn open(index: usize) -> Result<Self, String> {
        let device = device(index)?;
        let start = device
            .total_energy_consumption()
            .map_err(|error| format!("GPU {index} doesn't tell its energy: {error}"))?;
        let name = device.name().unwrap_or_else(|_| format!("GPU {index}"));
        Ok(Self {
            device,
            source: format!("NVML, {name}"),
            start,
        })
    }

    /// What is counted.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Joules spent since this was opened; `None` when the counter can't be read.
    pub fn joules(&mut self) -> Option<f64> {
        let now = self.device.total_energy_consumption().ok()?;
        Some(now.checked_sub(self.start)? as f64 / 1e3)
    }
}

/// The memory of CUDA's device `index` that process `pid` holds, in bytes, its context included.
/// `None` where the driver doesn't say, as in containers that have process numbers of their own.
pub fn process_memory_bytes(index: usize, pid: u32) -> Option<u64> {
    let processes = device(index).ok()?.running_compute_processes().ok()?;
    let process = processes.into_iter().find(|process| process.pid == pid)?;
    match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    }
}

/// NVML's handle of CUDA's device `index`. The two count GPUs alike where all are of one kind;
/// elsewhere CUDA puts the fastest first unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
fn device(index: usize) -> Result<Device<'static>, String> {
    static NVML: OnceLock<Result<Nvml, String>> = OnceLock::new();
    let init = || Nvml::init().map_err(|error| format!("no NVIDIA driver answers: {error}"));
    let nvml = NVML.get_or_init(init).as_ref().map_err(String::clone)?;
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let name = visible_name(visible.as_deref(), index)
        .ok_or_else(|| format!("CUDA_VISIBLE_DEVICES hides GPU {index}"))?;
    let found = match name.parse() {
        Ok(number) => nvml.device_by_index(number),
        Err(_) => nvml.device_by_uuid(name),
    };
    found.map_err(|error| format!("GPU {index}: {error}"))
}

/// The number or UUID of CUDA's device `index`, with `visible` as `CUDA_VISIBLE_DEVICES`. Source: the
/// CUDA C++ Programming Guide, "CUDA Environment Variables".
fn visible_name(visible: Option<&str>, index: usize) -> Option<String> {
    let Some(visible) = visible else {
        return Some(index.to_string());
    };
    let name = visible.split(',').nth(index)?.trim();
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_counts_the_gpus_that_are_visible() {
        let name = |visible, index| visible_name(visible, index);
        assert_eq!(name(None, 1).as_deref(), Some("1"));
        assert_eq!(name(Some("3, GPU-8932"), 0).as_deref(), Some("3"));
        assert_eq!(name(Some("3, GPU-8932"), 1).as_deref(), Some("GPU-8932"));
        assert_eq!(name(Some("3"), 1), None);
        assert_eq!(name(Some(""), 0), None);
    }

    /// Holds with an NVIDIA GPU and without.
    #[test]
    fn a_gpu_counts_its_energy_or_says_why_not() {
        match NvidiaMeter::open(0) {
            Ok(mut meter) => {
                let before = meter.joules().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(500));
                assert!(meter.joules().unwrap() > before);
                assert!(meter.source().starts_with("NVML, "));
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
        assert_eq!(process_memory_bytes(0, std::process::id()), None);
        assert!(NvidiaMeter::open(999).is_err());
    }
}
