//! Compiles the shims, lets the binaries find libtorch at run time, and names the version of the
//! bindings, which libtorch can't tell.

use std::env;
use std::path::Path;

fn main() {
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let lib = Path::new(&lib);
    let include = lib.with_file_name("include");
    let files = ["flash.cpp", "readback.cpp", "shim.cpp"];
    for file in ["guarded.h"].iter().chain(&files) {
        println!("cargo::rerun-if-changed=src/{file}");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .files(files.map(|file| format!("src/{file}")))
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .warnings(false)
        .compile("mlxbench_torch_shim");
    mlxbench_build::export_rpaths("torch", lib);
    mlxbench_build::export_versions(&[("tch", "TCH_VERSION")]);
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        // Nothing in a binary calls libtorch_cuda: it registers itself when it is loaded.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
}
