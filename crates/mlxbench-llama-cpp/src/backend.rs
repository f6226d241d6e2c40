//! The library and what it can do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::CStr;
use std::rc::Rc;
use std::thread::available_parallelism;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_sys_2::{ggml_commit, ggml_version, llama_print_system_info};
use mlxbench_core::backend::{Backend, DeviceSupport, Identity, Product};
use mlxbench_core::probe::ProductShape;
use mlxbench_core::{Checkpoint, Error, Placement, Result};

use crate::model::LlamaModel;
use crate::{devices, log};

/// llama.cpp.
pub(crate) struct LlamaCpp {
    library: Rc<LlamaBackend>,
    threads: usize,
}

impl LlamaCpp {
    /// Starts the library.
    ///
    /// # Errors
    /// When it doesn't start.
    pub(crate) fn new() -> Result<Self> {
        log::take_over();
        Ok(Self {
            library: Rc::new(LlamaBackend::init().map_err(log::failure)?),
            threads: default_threads(),
        })
    }
}

/// As many as the machine has for this process.
fn default_threads() -> usize {
    available_parallelism().map_or(1, Into::into)
}

impl Backend for LlamaCpp {
    type Model = LlamaModel;
    type Product = NoProduct;

    fn identity(&self) -> Result<Identity> {
        let version = option_env!("LLAMA_CPP_VERSION").ok_or_else(|| {
            Error::Framework("Cargo.lock doesn't tell which llama-cpp-sys-2 is linked".into())
        })?;
        // SAFETY: all three return strings that live as long as the program.
        let [ggml, commit, system] = unsafe {
            [ggml_version(), ggml_commit(), llama_print_system_info()]
                .map(|text| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        let libraries = [
            ("ggml", format!("{ggml} ({commit})")),
            ("instructions", instructions(&system)),
        ];
        Ok(Identity {
            backend: "llama-cpp".into(),
            framework: "llama.cpp".into(),
            version: format!("of llama-cpp-sys-2 {version}"),
            libraries: libraries
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        })
    }

    fn devices(&self) -> Vec<DeviceSupport> {
        devices::all()
    }

    fn set_threads(&mut self, threads: Option<usize>) -> Result<usize> {
        self.threads = match threads {
            Some(0) => return Err(Error::Invalid("llama.cpp needs at least one thread".into())),
            Some(threads) => threads,
            None => default_threads(),
        };
        Ok(self.threads)
    }

    fn load(&mut self, checkpoint: &Checkpoint, placement: &Placement) -> Result<LlamaModel> {
        LlamaModel::load(self.library.clone(), checkpoint, placement, self.threads)
    }

    fn product(&mut self, _: ProductShape, _: usize, _: &Placement) -> Result<NoProduct> {
        Err(Error::Unsupported(
            "a single product can't be asked of llama.cpp".into(),
        ))
    }
}

/// What ggml was compiled for: `AVX2, FMA` of `CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | FMA = 1 | ...`.
fn instructions(system: &str) -> String {
    let parts = system.split(['|', ':']).map(str::trim);
    let on = parts.filter_map(|part| part.strip_suffix("= 1"));
    on.map(str::trim).collect::<Vec<_>>().join(", ")
}

/// There is none.
pub(crate) struct NoProduct(Infallible);

impl Product for NoProduct {
    fn multiply(&mut self, _: usize) -> Result<()> {
        match self.0 {}
    }

    fn synchronize(&mut self) -> Result<()> {
        match self.0 {}
    }
}
