//! Lets the binaries find MLX's library at run time, and names the bindings' versions, which the
//! library can't tell: they are read from the workspace's `Cargo.lock`.

use std::env;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

fn main() {
    let lib_dir = env::var("DEP_MLX_LIB_DIR").expect("mlx-sys says where the library is");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib_dir}");

    let manifest_dir = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let lock = Path::new(&manifest_dir)
        .ancestors()
        .map(|folder| folder.join("Cargo.lock"))
        .find(|path| path.is_file());
    let Some(lock) = lock else { return };
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).expect("Cargo.lock was just found");
    let table: Table = text.parse().expect("Cargo.lock is TOML");
    // mlx-sys carries mlx-c and has its version.
    for (package, variable) in [("mlx-rs", "MLX_RS_VERSION"), ("mlx-sys", "MLX_C_VERSION")] {
        let packages = table
            .get("package")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let named = packages.filter(|entry| entry.get("name") == Some(&Value::from(package)));
        if let [version] = &named
            .filter_map(|entry| entry["version"].as_str())
            .collect::<Vec<_>>()[..]
        {
            println!("cargo::rustc-env={variable}={version}");
        }
    }
}
