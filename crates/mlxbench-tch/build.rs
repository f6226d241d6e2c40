//! Compiles the shims, lets the binaries find libtorch at run time, and names the version of the
//! bindings, which libtorch can't tell.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let lib = Path::new(&lib);
    let include = lib.with_file_name("include");
    let cuda = env::var_os("CARGO_FEATURE_CUDA").is_some();
    let mut files = vec!["flash.cpp", "frozen.cpp", "readback.cpp", "shim.cpp"];
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
    let home = cuda.then(|| cuda_home(lib));
    if let Some(home) = &home {
        shims.include(home.join("include"));
    }
    shims.compile("mlxbench_torch_shim");
    mlxbench_build::export_rpaths("torch", lib);
    mlxbench_build::export_versions(&[("tch", "TCH_VERSION")]);
    if let Some(home) = &home {
        // libtorch_cuda registers itself when it is loaded, whoever calls it. The shim calls CUDA's runtime,
        // in what libtorch's headers inline.
        let runtime = cuda_runtime(home);
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,-lc10_cuda,--as-needed");
        println!("cargo::rustc-link-arg={}", runtime.display());
        mlxbench_build::export_rpaths("nvidia/cu13", runtime.parent().expect("it is in a folder"));
    }
}

/// The folder of CUDA's headers and libraries: of the Python packages beside libtorch's, or of a toolkit.
fn cuda_home(libtorch: &Path) -> PathBuf {
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let packages = libtorch.ancestors().nth(2);
    let packages = packages.map(|packages| packages.join("nvidia/cu13"));
    let toolkit = env::var_os("CUDA_HOME").map(PathBuf::from);
    let mut homes = packages.into_iter().chain(toolkit);
    let found = homes.find(|home| home.join("include/cuda_runtime_api.h").is_file());
    found.expect(
        "the feature `cuda` needs CUDA's headers: `scripts/setup --cuda` brings them, or let CUDA_HOME name a \
         toolkit",
    )
}

/// CUDA's runtime library, with the number of its version behind its name where it comes from a package.
fn cuda_runtime(home: &Path) -> PathBuf {
    let folders = ["lib", "lib64"].map(|folder| fs::read_dir(home.join(folder)));
    let mut files = folders.into_iter().flatten().flatten().flatten();
    let runtime = files.find(|file| {
        file.file_name()
            .to_string_lossy()
            .starts_with("libcudart.so")
    });
    runtime
        .expect("CUDA's runtime library lies beside its headers")
        .path()
}
