//! Compiles the shim, lets the binaries find libtorch at run time, and names the version of the
//! bindings, which libtorch can't tell: it is read from the workspace's `Cargo.lock`.

use std::env;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

fn main() {
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let lib = Path::new(&lib);
    let include = lib.with_file_name("include");
    println!("cargo::rerun-if-changed=src/shim.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .file("src/shim.cpp")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .warnings(false)
        .compile("mlxbench_torch_shim");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        // Nothing in a binary calls libtorch_cuda: it registers itself when it is loaded.
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }

    let manifest_dir = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let lock = Path::new(&manifest_dir)
        .ancestors()
        .map(|folder| folder.join("Cargo.lock"))
        .find(|path| path.is_file());
    let Some(lock) = lock else { return };
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).expect("Cargo.lock was just found");
    let table: Table = text.parse().expect("Cargo.lock is TOML");
    let packages = table.get("package").and_then(Value::as_array);
    let named = packages
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("name") == Some(&Value::from("tch")));
    if let [version] = &named
        .filter_map(|entry| entry["version"].as_str())
        .collect::<Vec<_>>()[..]
    {
        println!("cargo::rustc-env=TCH_VERSION={version}");
    }
}
