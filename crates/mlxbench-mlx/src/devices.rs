//! The devices of the loaded MLX library, by the names that configs use.

use std::ffi::{CStr, c_char};
use std::ptr;

use mlx_rs::{Device, DeviceType, Stream, memory};
use mlxbench_core::{Error, Result};

use crate::backend::framework;

/// What MLX's GPU may be called: by the kind of GPU that the library is made for.
const GPU_NAMES: [&str; 2] = ["cuda", "gpu"];

/// How many devices there are, and what the GPUs are called. A GPU is one device: it has one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Devices {
    gpu: &'static str,
    gpus: usize,
}

impl Devices {
    /// Those of the loaded library on this machine: `cuda` for GPUs by CUDA, `gpu` for those by Metal.
    pub(crate) fn found() -> Self {
        let mut gpus = 0;
        let mut cuda = false;
        // SAFETY: both write to the place that they are given.
        unsafe {
            mlx_sys::mlx_device_count(&mut gpus, DeviceType::Gpu.into());
            mlx_sys::mlx_cuda_is_available(&mut cuda);
        }
        let [of_cuda, of_metal] = GPU_NAMES;
        Self {
            gpu: if cuda { of_cuda } else { of_metal },
            gpus: gpus.max(0) as usize,
        }
    }

    /// Their names, the CPU last.
    pub(crate) fn names(self) -> impl Iterator<Item = String> {
        let gpus = (0..self.gpus).map(move |index| match index {
            0 => self.gpu.to_owned(),
            index => format!("{}:{index}", self.gpu),
        });
        gpus.chain(["cpu".to_owned()])
    }

    /// The stream of work on the device called `name`, for this thread.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it isn't one of them, with the name to write where there is one.
    pub(crate) fn stream(self, name: &mlxbench_core::Device) -> Result<Stream> {
        name.listed().refuse_ways("MLX")?;
        self.check(name)?;
        Stream::try_default_on_device(&device(name)).map_err(framework)
    }

    fn check(self, name: &mlxbench_core::Device) -> Result<()> {
        let count = match name.kind() {
            "cpu" => 1,
            kind if kind == self.gpu => self.gpus,
            _ => 0,
        };
        if name.index() < count {
            return Ok(());
        }
        let has = match self.gpus {
            0 => String::new(),
            gpus => format!("{gpus} {} and ", self.gpu),
        };
        let instead = match GPU_NAMES.contains(&name.kind()) && name.kind() != self.gpu {
            true if name.index() < self.gpus => format!(": write `{}`", self.gpu),
            _ => String::new(),
        };
        Err(Error::Unsupported(format!(
            "this MLX has no device `{name}`: it has {has}1 cpu{instead}"
        )))
    }
}

/// Makes the device called `name` MLX's default. MLX decides by that device whether to compile, whatever stream the
/// work goes to: with a GPU as the default it compiles for the CPU as well, and fails where there is no `g++`.
pub(crate) fn make_default(name: &mlxbench_core::Device) {
    Device::set_default(&device(name));
}

/// MLX's own name for the device called `name`.
fn device(name: &mlxbench_core::Device) -> Device {
    let device_type = match name.kind() {
        "cpu" => DeviceType::Cpu,
        _ => DeviceType::Gpu,
    };
    Device::new(device_type, name.index() as i32)
}

/// What MLX calls the device: `Apple M3 Max`.
pub(crate) fn description(name: &mlxbench_core::Device) -> Option<String> {
    with_info(name, |info| {
        let mut text: *const c_char = ptr::null();
        // SAFETY: the text lives as long as `info`, and is copied.
        unsafe {
            let key = c"device_name".as_ptr();
            (mlx_sys::mlx_device_info_get_string(&mut text, info, key) == 0)
                .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    })
}

/// Lets MLX keep in memory as much as the device recommends, as mlx-lm does while it generates. No
/// evaluation may be under way. Devices that recommend nothing (all but Metal's) keep their limit.
pub(crate) fn raise_wired_limit(name: &mlxbench_core::Device) -> Result<()> {
    let recommended = with_info(name, |info| {
        let key = c"max_recommended_working_set_size".as_ptr();
        let mut exists = false;
        let mut bytes = 0;
        // SAFETY: both write to the place that they are given.
        let found = unsafe {
            mlx_sys::mlx_device_info_has_key(&mut exists, info, key) == 0
                && exists
                && mlx_sys::mlx_device_info_get_size(&mut bytes, info, key) == 0
        };
        found.then_some(bytes)
    });
    match recommended {
        Some(bytes) => memory::set_wired_limit(bytes).map(drop).map_err(framework),
        None => Ok(()),
    }
}

/// What `read` finds in what MLX knows of a device; `None` where it knows nothing.
fn with_info<T>(
    name: &mlxbench_core::Device,
    read: impl FnOnce(mlx_sys::mlx_device_info) -> Option<T>,
) -> Option<T> {
    let device_type = device(name).get_type().ok()?;
    // SAFETY: each handle is freed once, after its last use.
    unsafe {
        let handle = mlx_sys::mlx_device_new_type(device_type.into(), name.index() as i32);
        let mut info = mlx_sys::mlx_device_info_new();
        let known = mlx_sys::mlx_device_info_get(&mut info, handle) == 0;
        let value = known.then(|| read(info)).flatten();
        mlx_sys::mlx_device_info_free(info);
        mlx_sys::mlx_device_free(handle);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDA: Devices = Devices {
        gpu: "cuda",
        gpus: 2,
    };

    fn refusal(devices: Devices, name: &str) -> Option<String> {
        let error = devices.check(&name.parse().unwrap()).err()?;
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        Some(error.to_string())
    }

    #[test]
    fn a_gpu_is_listed_once() {
        let names: Vec<_> = CUDA.names().collect();
        assert_eq!(names, ["cuda", "cuda:1", "cpu"]);
        for name in names {
            assert_eq!(refusal(CUDA, &name), None);
        }
    }

    #[test]
    fn the_other_name_of_a_gpu_is_refused_with_the_one_to_write() {
        let message = refusal(CUDA, "gpu").unwrap();
        assert!(
            message.ends_with("2 cuda and 1 cpu: write `cuda`"),
            "{message}"
        );
        let metal = Devices {
            gpu: "gpu",
            gpus: 1,
        };
        let message = refusal(metal, "cuda").unwrap();
        assert!(
            message.ends_with("1 gpu and 1 cpu: write `gpu`"),
            "{message}"
        );
    }

    #[test]
    fn what_is_not_there_has_no_other_name() {
        let none = Devices {
            gpu: "gpu",
            gpus: 0,
        };
        for (devices, name, has) in [
            (none, "cuda", "it has 1 cpu"),
            (CUDA, "gpu:2", "it has 2 cuda and 1 cpu"),
            (CUDA, "mps", "it has 2 cuda and 1 cpu"),
            (CUDA, "cpu:1", "it has 2 cuda and 1 cpu"),
        ] {
            let message = refusal(devices, name).unwrap();
            assert!(message.ends_with(has), "{message}");
        }
    }

    #[test]
    fn a_device_that_recommends_no_limit_keeps_its_own() {
        raise_wired_limit(&mlxbench_core::Device::cpu()).unwrap();
    }
}
