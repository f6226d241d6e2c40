//! What libtorch can do here: versions, devices, dtypes, threads.

use std::collections::BTreeMap;

use mlxbench_core::backend::{DeviceSupport, Identity, PrecisionSupport};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::trial::{self, ElementType, Program};
use mlxbench_core::{Backend, Checkpoint, Error, Placement, Precision, Result, WeightFormat};
use tch::{Cuda, Device, TchError, Tensor, utils};

use crate::inference::inference;
use crate::weights::{self, Weights};
use crate::{GemmaModel, Product, attempt, graph, quantised, shim};

/// The way of handing over steps by replay of CUDA graphs.
const GRAPH: &str = "graph";

/// The PyTorch framework, through its C++ library.
#[derive(Debug, Default)]
pub struct TchBackend {}

impl Backend for TchBackend {
    type Model = GemmaModel;
    type Product = Product;

    fn identity(&self) -> Result<Identity> {
        let config = shim::config().ok_or_else(|| {
            Error::Unsupported("libtorch can't tell what it was built with".into())
        })?;
        let mut libraries = libraries(&config);
        let bindings = option_env!("TCH_VERSION").ok_or_else(|| {
            Error::Unsupported(
                "the version of tch is unknown: Cargo.lock named none or several when this was \
                 built"
                    .into(),
            )
        })?;
        libraries.insert("tch".into(), bindings.into());
        Ok(Identity {
            backend: "tch".into(),
            framework: "PyTorch".into(),
            version: shim::version(),
            libraries,
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        let gpus = (0..Cuda::device_count()).map(|index| match index {
            0 => "cuda".into(),
            index => format!("cuda:{index}"),
        });
        let ways = |gpu: String| match graph::AVAILABLE {
            true => vec![gpu.clone(), format!("{gpu}+{GRAPH}")],
            false => vec![gpu],
        };
        let mut names: Vec<String> = gpus.flat_map(ways).collect();
        if utils::has_mps() {
            names.push("mps".into());
        }
        names.push("cpu".into());
        names.iter().filter_map(|name| support(name)).collect()
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        if let Some(threads) = threads {
            let count = i32::try_from(threads).ok().filter(|&count| count > 0);
            tch::set_num_threads(count.ok_or_else(|| {
                Error::Invalid("libtorch needs between 1 and 2^31 - 1 threads".into())
            })?);
        }
        Ok(tch::get_num_threads().max(1) as usize)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<GemmaModel> {
        let device = usable(placement)?;
        if let Some(scheme) = placement.precision.scheme() {
            quantised::check_shapes(checkpoint.config(), scheme)?;
        }
        let weights = Weights::new(checkpoint, device, placement);
        let replayed = placement.device.way() == Some(GRAPH);
        if replayed && checkpoint.config().has_experts() {
            return Err(Error::Unsupported(format!(
                "PyTorch can't run this model on {}: the host picks the experts of each token, and a graph \
                 can't wait for it; use cuda",
                placement.device
            )));
        }
        inference(|| GemmaModel::load(&weights, replayed)).map_err(framework)
    }

    fn product(
        &mut self,
        shape: ProductShape,
        copies: usize,
        placement: &Placement,
    ) -> Result<Product> {
        let device = usable(placement)?;
        let random = || Product::random(shape, copies, placement.precision.compute(), device);
        inference(random).map_err(framework)
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
        let device = self::device(device)?;
        inference(|| attempt::run(program, element, device)).map_err(framework)
    }
}

/// The device of `placement`, where it can multiply in the precision.
fn usable(placement: &Placement) -> Result<Device> {
    let device = device(&placement.device)?;
    match unsupported(device, placement.precision) {
        None => Ok(device),
        Some(reason) => Err(Error::Unsupported(format!(
            "PyTorch can't run {placement}: {reason}"
        ))),
    }
}

/// Which of libtorch's accelerators `device` is; `None` for the CPU.
pub(crate) fn accelerator(device: Device) -> Option<usize> {
    match device {
        Device::Cuda(index) => Some(index),
        Device::Mps | Device::Vulkan => Some(0),
        Device::Cpu => None,
    }
}

/// Waits for all work on `device`.
pub(crate) fn synchronize(device: Device) -> Result<()> {
    match accelerator(device) {
        Some(index) => shim::synchronize(index),
        None => Ok(()),
    }
}

/// libtorch's failure, in its own words without the C++ stack; what a checkpoint's failure was, where one
/// went through libtorch's type.
pub(crate) fn framework(error: TchError) -> Error {
    match error {
        TchError::Io(wrapped) => match wrapped.downcast::<Error>() {
            Ok(ours) => ours,
            Err(other) => Error::framework(other),
        },
        error => Error::Framework(message(&error)),
    }
}

fn message(error: &TchError) -> String {
    let text = error.to_string();
    let words = text.split("Exception raised from").next().unwrap_or(&text);
    words.trim().to_owned()
}

/// The libraries under libtorch that decide its speed, from the text of `at::show_config`.
fn libraries(config: &str) -> BTreeMap<String, String> {
    let after = |label: &str, end: &[char]| {
        let (_, rest) = config.split_once(label)?;
        rest.split(end).next().map(|text| text.trim().to_owned())
    };
    let word: &[char] = &[' ', '-', '\n', ','];
    let blas = after("BLAS_INFO=", word).map(|blas| {
        let version = after("Math Kernel Library Version ", word);
        match (blas.as_str(), version) {
            ("mkl", Some(version)) => format!("MKL {version}"),
            _ => blas,
        }
    });
    let found = [
        ("BLAS", blas),
        ("oneDNN", after("MKL-DNN v", word)),
        ("CPU kernels", after("CPU capability usage: ", &['\n'])),
        ("CUDA", after("CUDA Runtime ", word)),
        ("cuDNN", after("CuDNN ", word)),
    ];
    let found = found.into_iter();
    found
        .filter_map(|(name, version)| Some((name.to_owned(), version?)))
        .collect()
}

/// The device called `name`, where it can be used here.
fn device(name: &mlxbench_core::Device) -> Result<Device> {
    let is_graph = name.kind() == "cuda" && name.way() == Some(GRAPH);
    if !(is_graph && graph::AVAILABLE) {
        name.listed().refuse_ways("PyTorch")?;
    }
    let (device, usable) = match name.kind() {
        "cpu" => (Device::Cpu, true),
        "cuda" => {
            let count = Cuda::device_count().max(0) as usize;
            (Device::Cuda(name.index()), name.index() < count)
        }
        "mps" => (Device::Mps, utils::has_mps()),
        _ => {
            return Err(Error::Unsupported(format!(
                "PyTorch has no device `{name}`: it knows cpu, mps and cuda"
            )));
        }
    };
    match usable {
        true => Ok(device),
        false => Err(Error::Unsupported(format!(
            "this libtorch finds no device `{name}` here"
        ))),
    }
}

/// What the device called `name` can do; `None` when it can't be used.
fn support(name: &str) -> Option<DeviceSupport> {
    let name: mlxbench_core::Device = name.parse().ok()?;
    let device = device(&name).ok()?;
    let precisions = Precision::ALL.map(|precision| PrecisionSupport {
        precision,
        unsupported: unsupported(device, precision),
    });
    Some(DeviceSupport {
        device: name,
        description: None,
        precisions: precisions.into(),
    })
}

/// Why `device` can't multiply matrices in `precision`, in libtorch's words or for its wrong results; `None`
/// when it can.
fn unsupported(device: Device, precision: Precision) -> Option<String> {
    if precision.weights() == WeightFormat::Native {
        let reason = "libtorch has no products with weights as a quantised checkpoint stores them: write f32 or \
                      bf16 for what they stand for";
        return Some(reason.to_owned());
    }
    let place = (weights::dtype(precision.compute()), device);
    let product = || {
        let x = Tensor::f_ones([2, 2], place)?;
        f32::try_from(x.f_matmul(&x)?.f_sum(tch::Kind::Float)?)?;
        match precision.scheme() {
            Some(scheme) => inference(|| quantised::try_all(scheme, place)),
            None => Ok(()),
        }
    };
    product().err().map(|error| message(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_in_use_are_known() {
        let identity = TchBackend::default().identity().unwrap();
        assert!(identity.version.starts_with("2."), "{}", identity.version);
        for library in ["BLAS", "tch"] {
            assert!(identity.libraries.contains_key(library), "{library}");
        }
    }

    #[test]
    fn libraries_are_read_from_the_build_text() {
        let config = "PyTorch built with:\n  - Intel(R) oneAPI Math Kernel Library Version \
                      2024.2-Product Build\n  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80)\n  - CPU \
                      capability usage: AVX512\n  - Build settings: BLAS_INFO=mkl, BUILD\n";
        let found = libraries(config);
        assert_eq!(found["BLAS"], "MKL 2024.2");
        assert_eq!(found["oneDNN"], "3.12.0");
        assert_eq!(found["CPU kernels"], "AVX512");
        let mac = libraries("  - CPU capability usage: DEFAULT\n  - BLAS_INFO=accelerate, X");
        assert_eq!(mac["BLAS"], "accelerate");
    }

    #[test]
    fn the_cpu_is_always_there() {
        let devices = TchBackend::default().devices();
        assert_eq!(devices.last().unwrap().device, mlxbench_core::Device::cpu());
    }

    #[test]
    fn a_device_of_another_framework_is_unsupported() {
        let error = device(&"metal".parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().contains("cpu, mps and cuda"), "{error}");
    }

    #[test]
    fn only_cuda_has_graphs() {
        for name in ["cpu+graph", "mps+graph", "cuda+threads"] {
            let error = device(&name.parse().unwrap()).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            assert!(
                error.to_string().contains("can't hand over steps"),
                "{error}"
            );
        }
    }

    #[test]
    fn libtorch_speaks_without_its_stack() {
        let error = Tensor::f_ones([2, 3], tch::kind::FLOAT_CPU);
        let error = error.and_then(|x| x.f_matmul(&x)).unwrap_err();
        let text = framework(error).to_string();
        assert!(text.contains("shapes"), "{text}");
        assert!(!text.contains("frame #"), "{text}");
    }
}
