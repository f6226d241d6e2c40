//! What MLX can do here: version, devices, dtypes.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Device, DeviceType, Stream, with_stream};
use mlxbench_core::backend::{DeviceSupport, Identity, PrecisionSupport};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{Backend, Checkpoint, Error, Placement, Precision, Result};

use crate::weights::{self, Weights};
use crate::{GemmaModel, Product, blas};

/// The MLX framework.
#[derive(Debug, Default)]
pub struct MlxBackend {}

impl Backend for MlxBackend {
    type Model = GemmaModel;
    type Product = Product;

    fn identity(&self) -> Result<Identity> {
        let mut libraries = BTreeMap::new();
        libraries.insert("BLAS".into(), blas::in_effect());
        libraries.insert(
            "mlx-rs".into(),
            linked("mlx-rs", option_env!("MLX_RS_VERSION"))?,
        );
        libraries.insert(
            "mlx-c".into(),
            linked("mlx-c", option_env!("MLX_C_VERSION"))?,
        );
        Ok(Identity {
            backend: "mlx".into(),
            framework: "MLX".into(),
            version: version()?,
            libraries,
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        let gpus = ["gpu", "cuda"].into_iter().flat_map(|kind| {
            (0..count(kind)).map(move |index| match index {
                0 => kind.to_owned(),
                index => format!("{kind}:{index}"),
            })
        });
        gpus.chain(["cpu".into()])
            .filter_map(|name| support(&name))
            .collect()
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        blas::set_threads(threads)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<GemmaModel> {
        let stream = usable(placement)?;
        let weights = Weights {
            checkpoint,
            dtype: placement.precision.compute(),
        };
        let asynchronous = placement.device.kind() != "cpu";
        let load = || GemmaModel::load(&weights, stream.clone(), asynchronous);
        with_stream(&stream, load).map_err(framework)
    }

    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Product> {
        let stream = usable(placement)?;
        let random =
            || Product::random(shape, copies, placement.precision.compute(), stream.clone());
        with_stream(&stream, random).map_err(framework)
    }
}

/// The stream of `placement`, where it can multiply in the precision.
fn usable(placement: &Placement) -> Result<Stream> {
    let stream = stream(&placement.device)?;
    match unsupported(&stream, placement.precision) {
        None => Ok(stream),
        Some(reason) => Err(Error::Unsupported(format!(
            "MLX can't run {placement}: {reason}"
        ))),
    }
}

/// MLX's failure, in its own words.
pub(crate) fn framework(error: Exception) -> Error {
    Error::Framework(error.what().into())
}

/// Waits for all work on `stream`.
pub(crate) fn synchronize(stream: &Stream) -> Result<()> {
    // SAFETY: the stream is alive.
    match unsafe { mlx_sys::mlx_synchronize(stream.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::Framework("MLX can't wait for its stream".into())),
    }
}

/// How many devices of `kind` the loaded library and this machine have.
fn count(kind: &str) -> usize {
    let mut count = 0;
    let mut cuda = false;
    // SAFETY: both write to the place that they are given.
    unsafe {
        mlx_sys::mlx_device_count(&mut count, DeviceType::Gpu.into());
        mlx_sys::mlx_cuda_is_available(&mut cuda);
    }
    match kind {
        "gpu" => count.max(0) as usize,
        "cuda" if cuda => count.max(0) as usize,
        "cpu" => 1,
        _ => 0,
    }
}

/// The default stream of the device called `name`, for this thread.
fn stream(name: &mlxbench_core::Device) -> Result<Stream> {
    name.refuse_ways("MLX")?;
    if name.index() >= count(name.kind()) {
        return Err(Error::Unsupported(format!(
            "this MLX has no device `{name}`: it has {}",
            ["gpu", "cuda", "cpu"]
                .map(|kind| format!("{} {kind}", count(kind)))
                .join(", ")
        )));
    }
    Stream::try_default_on_device(&device(name)).map_err(framework)
}

fn device(name: &mlxbench_core::Device) -> Device {
    let device_type = match name.kind() {
        "cpu" => DeviceType::Cpu,
        _ => DeviceType::Gpu,
    };
    Device::new(device_type, name.index() as i32)
}

/// What the device called `name` can do; `None` when it can't be used.
fn support(name: &str) -> Option<DeviceSupport> {
    let device = name.parse().ok()?;
    let stream = stream(&device).ok()?;
    let precisions = Precision::ALL.map(|precision| PrecisionSupport {
        precision,
        unsupported: unsupported(&stream, precision),
    });
    let description = description(&device);
    Some(DeviceSupport {
        device,
        description,
        precisions: precisions.into(),
    })
}

/// Why a device can't multiply matrices in `precision`, in MLX's words; `None` when it can.
fn unsupported(stream: &Stream, precision: Precision) -> Option<String> {
    if precision.is_quantised() {
        return Some("quantised weights aren't implemented in the mlx adapter".into());
    }
    let dtype = precision.compute();
    let product = || {
        let x = Array::from_slice(&[1.0_f32; 4], &[2, 2]).as_dtype(weights::dtype(dtype))?;
        x.matmul(&x)?.eval()
    };
    with_stream(stream, product)
        .err()
        .map(|error| error.what().into())
}

/// What MLX calls the device: `Apple M3 Max`.
fn description(name: &mlxbench_core::Device) -> Option<String> {
    let device = device(name);
    let mut text: *const c_char = ptr::null();
    // SAFETY: each handle is freed once; the text is copied before its owner goes.
    unsafe {
        let handle =
            mlx_sys::mlx_device_new_type(device.get_type().ok()?.into(), name.index() as i32);
        let mut info = mlx_sys::mlx_device_info_new();
        let key = c"device_name".as_ptr();
        let found = mlx_sys::mlx_device_info_get(&mut info, handle) == 0
            && mlx_sys::mlx_device_info_get_string(&mut text, info, key) == 0;
        let description = found.then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        mlx_sys::mlx_device_info_free(info);
        mlx_sys::mlx_device_free(handle);
        description
    }
}

/// The version that the loaded library states.
fn version() -> Result<String> {
    // SAFETY: the string is freed once, after it was copied.
    let version = unsafe {
        let mut string = mlx_sys::mlx_string_new();
        let told = mlx_sys::mlx_version(&mut string) == 0;
        let version = told.then(|| {
            CStr::from_ptr(mlx_sys::mlx_string_data(string))
                .to_string_lossy()
                .into()
        });
        mlx_sys::mlx_string_free(string);
        version
    };
    version.ok_or_else(|| Error::Unsupported("MLX can't tell its version".into()))
}

/// A backend that can't tell its version isn't timed.
fn linked(package: &str, version: Option<&str>) -> Result<String> {
    version.map(str::to_owned).ok_or_else(|| {
        Error::Unsupported(format!(
            "the version of {package} is unknown: Cargo.lock named none or several when this was \
             built"
        ))
    })
}
