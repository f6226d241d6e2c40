//! What MLX can do here: version, devices, dtypes.

use std::collections::BTreeMap;
use std::ffi::CStr;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Stream, with_stream};
use mlxbench_core::backend::{DeviceSupport, Identity, PrecisionSupport};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::trial::{self, ElementType, Program};
use mlxbench_core::{Backend, Checkpoint, Device, Error, Placement, Precision, Result};

use crate::devices::{self, Devices};
use crate::quantised::{self, Way};
use crate::weights::{self, Weights};
use crate::{GemmaModel, Product, attempt, blas};

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
        let devices = Devices::found();
        let support = |name: String| support(devices, &name);
        devices.names().filter_map(support).collect()
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        blas::set_threads(threads)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<GemmaModel> {
        let (stream, quantised) = usable(placement)?;
        match quantised {
            Some(Way {
                scheme: Some(scheme),
                ..
            }) => quantised::check_shapes(checkpoint.config(), scheme)?,
            Some(Way { scheme: None, .. }) if !checkpoint.is_packed() => {
                return Err(Error::Unsupported(
                    "MLX takes matrices as mlx-lm packed them, and this model has none: write f32 or bf16".into(),
                ));
            }
            _ => {}
        }
        let weights = Weights::new(checkpoint, placement, quantised);
        devices::raise_wired_limit(&placement.device)?;
        devices::make_default(&placement.device);
        let load = || GemmaModel::load(&weights, stream.clone());
        with_stream(&stream, load).map_err(framework)
    }

    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Product> {
        let (stream, _) = usable(placement)?;
        let random =
            || Product::random(shape, copies, placement.precision.compute(), stream.clone());
        with_stream(&stream, random).map_err(framework)
    }

    fn tries(&self) -> &'static [&'static str] {
        &Program::OPS
    }

    fn attempt(
        &mut self,
        program: &Program,
        element: ElementType,
        device: &Device,
    ) -> Result<trial::Tensor> {
        let stream = Devices::found().stream(device)?;
        attempt::run(program, element, &stream).map_err(framework)
    }
}

/// The stream of `placement`, where it can multiply in the precision, and how where weights are quantised.
fn usable(placement: &Placement) -> Result<(Stream, Option<Way>)> {
    let stream = Devices::found().stream(&placement.device)?;
    match tried(&stream, placement.precision) {
        Ok(quantised) => Ok((stream, quantised)),
        Err(reason) => Err(Error::Unsupported(format!(
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

/// What the device called `name` can do; `None` when it can't be used.
fn support(devices: Devices, name: &str) -> Option<DeviceSupport> {
    let device = name.parse().ok()?;
    let stream = devices.stream(&device).ok()?;
    let precisions = Precision::ALL.map(|precision| PrecisionSupport {
        precision,
        unsupported: tried(&stream, precision).err(),
    });
    let description = devices::description(&device);
    Some(DeviceSupport {
        device,
        description,
        precisions: precisions.into(),
    })
}

/// How a device multiplies matrices in `precision` where they are quantised.
///
/// # Errors
/// Why it can't, in MLX's words.
fn tried(stream: &Stream, precision: Precision) -> Result<Option<Way>, String> {
    if precision.is_quantised() {
        let way = quantised::way(stream, precision.scheme(), precision.compute());
        return way.map(Some).map_err(|error| error.what().into());
    }
    let dtype = precision.compute();
    let product = || {
        let x = Array::from_slice(&[1.0_f32; 4], &[2, 2]).as_dtype(weights::dtype(dtype))?;
        x.matmul(&x)?.eval()
    };
    match with_stream(stream, product) {
        Ok(()) => Ok(None),
        Err(error) => Err(error.what().into()),
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
