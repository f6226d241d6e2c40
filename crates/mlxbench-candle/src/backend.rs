//! What candle can do here: versions, devices, dtypes, threads.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, utils};
use mlxbench_core::backend::{DeviceSupport, Identity, PrecisionSupport};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::trial::{self, ElementType, Program};
use mlxbench_core::{
    Backend, Checkpoint, Error, Placement, Precision, Result, Scheme, WeightFormat,
};

use crate::attempt;
use crate::quantised;
use crate::weights::{self, Weights};
use crate::{GemmaModel, Product};

/// The threads variable that candle and rayon read.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// The one that candle's own pool reads first, which runs quantised products.
const POOL_VARIABLE: &str = "CANDLE_NUM_THREADS";

/// The candle framework.
#[derive(Debug, Default)]
pub struct CandleBackend {}

impl Backend for CandleBackend {
    type Model = GemmaModel;
    type Product = Product;

    fn identity(&self) -> Result<Identity> {
        let mut libraries = BTreeMap::new();
        libraries.insert(
            "gemm".into(),
            linked_version("gemm", option_env!("GEMM_VERSION"))?,
        );
        let features = [
            ("accelerate", utils::has_accelerate()),
            ("mkl", utils::has_mkl()),
            ("cuda", utils::cuda_is_available()),
            ("metal", utils::metal_is_available()),
        ];
        for (name, _) in features.into_iter().filter(|(_, on)| *on) {
            libraries.insert(name.into(), "on".into());
        }
        Ok(Identity {
            backend: "candle".into(),
            framework: "candle".into(),
            version: linked_version("candle-core", option_env!("CANDLE_CORE_VERSION"))?,
            libraries,
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        let mut names = Vec::new();
        if utils::cuda_is_available() {
            let cuda = (0..).map_while(|index| Device::new_cuda(index).ok().map(|_| index));
            names.extend(cuda.map(|index| match index {
                0 => "cuda".to_owned(),
                index => format!("cuda:{index}"),
            }));
        }
        if utils::metal_is_available() {
            names.push("metal".into());
        }
        names.push("cpu".into());
        names.iter().filter_map(|name| support(name)).collect()
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        if let Some(threads) = threads {
            if threads == 0 {
                return Err(Error::Invalid("candle needs at least one thread".into()));
            }
            // candle looks here before each product, and its own pool when it starts.
            // SAFETY: no other thread of a worker touches the environment.
            unsafe { std::env::set_var(THREADS_VARIABLE, threads.to_string()) };
        }
        let threads = utils::get_num_threads();
        // Otherwise one that is set already would count for some products and not for others.
        // SAFETY: as above.
        unsafe { std::env::set_var(POOL_VARIABLE, threads.to_string()) };
        // Fails when the pool already runs, which is fine if its size is right.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
        match rayon::current_num_threads() {
            running if running == threads => Ok(threads),
            running => Err(Error::Unsupported(format!(
                "rayon's global pool already runs with {running} threads and can't change to \
                 {threads}: start a new worker"
            ))),
        }
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<GemmaModel> {
        let device = usable(placement)?;
        if placement.precision.scheme().is_some() {
            quantised::check_shapes(checkpoint.config())?;
        }
        let weights = Weights::new(checkpoint, &device, placement)?;
        GemmaModel::load(&weights).map_err(Error::framework)
    }

    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Product> {
        let device = usable(placement)?;
        Product::random(shape, copies, placement.precision.compute(), &device)
            .map_err(Error::framework)
    }

    fn tries(&self) -> &'static [&'static str] {
        &Program::OPS
    }

    fn attempt(
        &mut self,
        program: &Program,
        element: ElementType,
        device: &mlxbench_core::Device,
    ) -> Result<trial::Tensor> {
        attempt::run(program, element, &self::device(device)?).map_err(Error::framework)
    }
}

/// The device of `placement`, where it can multiply in the precision, set for the adapter's work.
fn usable(placement: &Placement) -> Result<Device> {
    let device = device(&placement.device)?;
    match unsupported(&device, placement.precision) {
        None => {
            #[cfg(feature = "cuda")]
            if let Device::Cuda(gpu) = &device {
                crate::cuda::prepare(gpu).map_err(Error::framework)?;
            }
            Ok(device)
        }
        Some(reason) => Err(Error::Unsupported(format!(
            "candle can't run {placement}: {reason}"
        ))),
    }
}

/// The device called `name`, as candle opens it.
///
/// # Errors
/// When candle has no device of this kind, or can't open it.
pub fn device(name: &mlxbench_core::Device) -> Result<Device> {
    name.listed().refuse_ways("candle")?;
    let opened = match name.kind() {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Device::new_cuda(name.index()),
        "metal" => Device::new_metal(name.index()),
        _ => {
            return Err(Error::Unsupported(format!(
                "candle has no device `{name}`: it knows cpu, cuda and metal"
            )));
        }
    };
    opened.map_err(|error| Error::Unsupported(format!("candle can't open `{name}`: {error}")))
}

/// What the device called `name` can do; `None` when it can't be opened.
fn support(name: &str) -> Option<DeviceSupport> {
    let name: mlxbench_core::Device = name.parse().ok()?;
    let device = device(&name).ok()?;
    let precisions = Precision::ALL.map(|precision| PrecisionSupport {
        precision,
        // candle's pool for quantised products on the CPU starts with the first of them and keeps its
        // threads, whose number is set later: there they are tried when a model is loaded.
        unsupported: match device.is_cpu() && precision.is_quantised() {
            true => None,
            false => unsupported(&device, precision),
        },
    });
    Some(DeviceSupport {
        device: name,
        description: None,
        precisions: precisions.into(),
    })
}

/// Why `device` can't multiply matrices in `precision`, in candle's words; `None` when it can.
fn unsupported(device: &Device, precision: Precision) -> Option<String> {
    let dtype = precision.compute();
    // Of the kinds that a GGUF file may have, only these two are tried.
    let schemes = match precision.weights() {
        WeightFormat::Plain(_) => Vec::new(),
        WeightFormat::Quantised(scheme) => vec![scheme],
        WeightFormat::Native => vec![Scheme::Q8, Scheme::Q4],
    };
    if !schemes.is_empty() {
        let mut tried = schemes.into_iter();
        return tried.find_map(|scheme| quantised::unusable(device, scheme, dtype));
    }
    let product = || {
        let x = Tensor::ones((2, 2), weights::dtype(dtype), device)?;
        x.matmul(&x)?;
        device.synchronize()
    };
    product().err().map(|error| error.to_string())
}

/// A backend that can't tell its version isn't timed.
fn linked_version(package: &str, version: Option<&str>) -> Result<String> {
    version.map(str::to_owned).ok_or_else(|| {
        Error::Unsupported(format!(
            "the version of {package} is unknown: Cargo.lock named none or several when this was \
             built"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_in_use_are_known() {
        let identity = CandleBackend::default().identity().unwrap();
        assert!(identity.version.starts_with("0."), "{}", identity.version);
        assert!(identity.libraries.contains_key("gemm"));
    }

    #[test]
    fn an_unknown_version_is_an_error() {
        let message = linked_version("gemm", None).unwrap_err().to_string();
        assert!(message.contains("version of gemm is unknown"), "{message}");
    }

    #[test]
    fn the_cpu_is_always_there() {
        let devices = CandleBackend::default().devices();
        assert_eq!(devices.last().unwrap().device, mlxbench_core::Device::cpu());
    }

    #[test]
    fn a_device_of_another_framework_is_unsupported() {
        let error = device(&"mps".parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().contains("cpu, cuda and metal"), "{error}");
    }

    #[test]
    fn a_running_pool_keeps_its_size() {
        let threads = CandleBackend::default().set_threads(Some(1)).unwrap();
        assert_eq!(threads, 1);
        assert_eq!(std::env::var(POOL_VARIABLE).unwrap(), "1");
        let error = CandleBackend::default().set_threads(Some(2)).unwrap_err();
        assert!(error.to_string().contains("start a new worker"), "{error}");
    }
}
