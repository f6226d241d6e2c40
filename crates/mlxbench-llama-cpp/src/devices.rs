//! The devices that this build of llama.cpp has, by the names that configs use.

use llama_cpp_2::{LlamaBackendDevice, LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use mlxbench_core::backend::{DeviceSupport, PrecisionSupport};
use mlxbench_core::{Device, Dtype, Error, Precision, Result, WeightFormat};

/// ggml's name of Metal.
const METAL: &str = "MTL";

/// A device that layers are put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The processor's cores alone.
    Cpu,
    /// A GPU.
    Gpu {
        /// Its index in ggml's list of devices.
        index: usize,
        /// Whether products with blocks round what is multiplied to 8 bits there.
        int8: bool,
    },
}

/// The devices of this machine, GPUs first.
pub(crate) fn all() -> Vec<DeviceSupport> {
    let cpu = list_llama_ggml_backend_devices()
        .into_iter()
        .find(|device| device.device_type == LlamaBackendDeviceType::Cpu);
    let gpus = gpus()
        .into_iter()
        .map(|(name, gpu)| (name, Some(gpu.description)));
    gpus.chain([("cpu".to_owned(), cpu.map(|device| device.description))])
        .filter_map(|(name, description)| {
            Some(DeviceSupport {
                device: name.parse().ok()?,
                description,
                precisions: Precision::ALL.map(support).into(),
            })
        })
        .collect()
}

/// GPUs by name: `cuda`, `cuda:1`, `metal`, `vulkan`.
fn gpus() -> Vec<(String, LlamaBackendDevice)> {
    let mut named: Vec<(String, LlamaBackendDevice)> = Vec::new();
    for device in list_llama_ggml_backend_devices() {
        if !matches!(
            device.device_type,
            LlamaBackendDeviceType::Gpu | LlamaBackendDeviceType::IntegratedGpu
        ) {
            continue;
        }
        let kind = match device.backend.as_str() {
            METAL => "metal".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let before = named
            .iter()
            .filter(|(_, known)| known.backend == device.backend)
            .count();
        let name = match before {
            0 => kind,
            index => format!("{kind}:{index}"),
        };
        named.push((name, device));
    }
    named
}

fn support(precision: Precision) -> PrecisionSupport {
    PrecisionSupport {
        precision,
        unsupported: check(precision).err().map(|error| error.to_string()),
    }
}

/// Refuses what llama.cpp can't be asked for: it has the weights of its file and no others.
///
/// # Errors
/// [`Error::Unsupported`].
pub(crate) fn check(precision: Precision) -> Result<()> {
    let why = match (precision.weights(), precision.compute()) {
        (WeightFormat::Native, Dtype::F32 | Dtype::F16) => return Ok(()),
        (WeightFormat::Native, Dtype::Bf16) => {
            "llama.cpp computes in f32 and keeps keys and values in f16 or f32 here"
        }
        _ => "llama.cpp takes the weights of a GGUF file as they are",
    };
    Err(Error::Unsupported(format!(
        "{why}: write native-f16 (its default) or native-f32"
    )))
}

/// Where the device called `device` is.
///
/// # Errors
/// [`Error::Unsupported`] when this build doesn't see it.
pub(crate) fn place(device: &Device) -> Result<Place> {
    device.refuse_ways("llama.cpp")?;
    if device.kind() == "cpu" {
        return Ok(Place::Cpu);
    }
    let gpus = gpus();
    let known = gpus.iter().find(|(name, _)| {
        let named: Result<Device> = name.parse();
        named.is_ok_and(|named| (named.kind(), named.index()) == (device.kind(), device.index()))
    });
    match known {
        Some((_, gpu)) => Ok(Place::Gpu {
            index: gpu.index,
            int8: gpu.backend != METAL,
        }),
        None => {
            let mut names: Vec<&str> = gpus.iter().map(|(name, _)| name.as_str()).collect();
            names.push("cpu");
            Err(Error::Unsupported(format!(
                "this build of llama.cpp has no device `{device}`, only {}",
                names.join(", ")
            )))
        }
    }
}
