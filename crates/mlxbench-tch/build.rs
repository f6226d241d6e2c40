//! Compiles the shims, lets the binaries find libtorch at run time, and names the version of the
//! bindings, which libtorch can't tell.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let lib = Path::new(&lib);
    let include = lib.with_file_name("include");
    let cuda = env::var_os("CARGO_FEATURE_CUDA").is_some();
    let mut files = vec!["flash.cpp", "readback.cpp", "shim.cpp"];
    files.extend(cuda.then_some("graph.cpp"));
    for file in ["guarded.h"].iter().chain(&files) {
        println!("cargo::rerun-if-changed=src/{file}");
    }
    let mut shims = cc::Build::new();
    shims
        .cpp(true)
        .std("c++20")
        .files(files.iter().map(|file| format!("src/{file}")))
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .warnings(false);
    if cuda {
        shims.include(cuda_include(lib));
    }
    shims.compile("mlxbench_torch_shim");
    mlxbench_build::export_rpaths("torch", lib);
    mlxbench_build::export_versions(&[("tch", "TCH_VERSION")]);
    if cuda {
        // libtorch_cuda registers itself when it is loaded, whoever calls it.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,-lc10_cuda,--as-needed");
    }
}

/// The folder of CUDA's headers: of the Python packages beside libtorch's, or of a toolkit.
fn cuda_include(libtorch: &Path) -> PathBuf {
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let packages = libtorch
        .ancestors()
        .nth(2)
        .map(|packages| packages.join("nvidia/cu13"));
    let toolkit = env::var_os("CUDA_HOME").map(PathBuf::from);
    let homes = packages.into_iter().chain(toolkit);
    let mut includes = homes.map(|home| home.join("include"));
    includes
        .find(|include| include.join("cuda_runtime_api.h").is_file())
        .expect(
            "the feature `cuda` needs CUDA's headers: `scripts/setup --cuda` brings them, or let \
             CUDA_HOME name a toolkit",
        )
}
