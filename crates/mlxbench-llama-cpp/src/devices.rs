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

impl Place {
    fn of(gpu: &LlamaBackendDevice) -> Self {
        Self::Gpu {
            index: gpu.index,
            int8: gpu.backend != METAL,
        }
    }
}

/// The devices of this machine, GPUs first.
pub(crate) fn all() -> Vec<DeviceSupport> {
    let cpu = list_llama_ggml_backend_devices()
        .into_iter()
        .find(|device| device.device_type == LlamaBackendDeviceType::Cpu);
    let cpu = cpu.map(|device| device.description);
    let gpus = gpus().into_iter().map(|(name, gpu)| {
        let place = Place::of(&gpu);
        (name, Some(gpu.description), place)
    });
    gpus.chain([("cpu".to_owned(), cpu, Place::Cpu)])
        .filter_map(|(name, description, place)| {
            Some(DeviceSupport {
                device: name.parse().ok()?,
                description,
                precisions: Precision::ALL
                    .map(|precision| support(precision, place))
                    .into(),
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

fn support(precision: Precision, place: Place) -> PrecisionSupport {
    PrecisionSupport {
        precision,
        unsupported: check(precision, place).err().map(|error| error.to_string()),
    }
}

/// Refuses what llama.cpp can't be asked for: it has the weights of its file and no others.
///
/// # Errors
/// [`Error::Unsupported`].
pub(crate) fn check(precision: Precision, place: Place) -> Result<()> {
    let why = match (precision.weights(), precision.compute(), place) {
        // As the source of ggml's `kernel_mul_mm` has it; not measured.
        (WeightFormat::Native, Dtype::F32, Place::Gpu { int8: false, .. }) => {
            "on Metal llama.cpp rounds to f16 what it multiplies: write native-f16, its default"
        }
        (WeightFormat::Native, Dtype::F32 | Dtype::F16, _) => return Ok(()),
        (WeightFormat::Native, Dtype::Bf16, _) => {
            "llama.cpp keeps keys and values in f16 or f32 here: write native-f16, its default, or native-f32"
        }
        _ => {
            "llama.cpp takes the weights of a GGUF file as they are: write native-f16, its default, or \
             native-f32"
        }
    };
    Err(Error::Unsupported(why.into()))
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
        Some((_, gpu)) => Ok(Place::of(gpu)),
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
