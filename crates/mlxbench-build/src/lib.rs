//! What the adapters' build scripts share: the versions that a build links, and where its programs
//! look for native libraries.

use std::env;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// The deepest that a program lies below the folder that holds `.native`:
/// `target/release/examples`.
const DEEPEST: usize = 3;

/// Makes the versions of `packages`, pairs of a package and an environment variable, known to the
/// code under build through `option_env!`. They are read from the workspace's `Cargo.lock`, which
/// cargo writes before it builds anything. A package that it names several times or not at all has
/// no variable, since then nobody knows which of them is linked.
///
/// # Panics
/// Outside a build script, or when `Cargo.lock` isn't TOML.
pub fn export_versions(packages: &[(&str, &str)]) {
    let manifest_dir = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let lock = Path::new(&manifest_dir)
        .ancestors()
        .map(|folder| folder.join("Cargo.lock"))
        .find(|path| path.is_file());
    let Some(lock) = lock else { return };
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).expect("Cargo.lock was just found");
    let lock: Table = text.parse().expect("Cargo.lock is TOML");
    for (package, variable) in packages {
        if let Some(version) = only_version(&lock, package) {
            println!("cargo::rustc-env={variable}={version}");
        }
    }
}

/// Lets programs find the libraries of `framework` at run time: in `.native/lib/<framework>/lib` of
/// a folder above the program, where scripts/setup puts them in a checkout and the start script in a
/// release; in the Python package of its name, beside the package `mlxbench` that has the programs in
/// `bin`; and in `lib_dir`, where the build found them, unless the programs are for another machine:
/// `MLXBENCH_RELOCATABLE` is set, or the target isn't the host.
///
/// # Panics
/// Outside a build script.
pub fn export_rpaths(framework: &str, lib_dir: &Path) {
    let variable = |name| env::var(name).expect("set by cargo");
    let here = match variable("CARGO_CFG_TARGET_VENDOR").as_str() {
        "apple" => "@loader_path",
        _ => "$ORIGIN",
    };
    for depth in 1..=DEEPEST {
        let up = "../".repeat(depth);
        println!("cargo::rustc-link-arg=-Wl,-rpath,{here}/{up}.native/lib/{framework}/lib");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{here}/../../{framework}/lib");
    println!("cargo::rerun-if-env-changed=MLXBENCH_RELOCATABLE");
    let relocatable = env::var_os("MLXBENCH_RELOCATABLE").is_some();
    if variable("HOST") == variable("TARGET") && !relocatable {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib_dir.display());
    }
}

/// [`export_rpaths`] for the libraries of CUDA, where the crate under build has its feature `cuda`:
/// for programs that candle is linked into, which links them.
///
/// # Panics
/// Outside a build script.
pub fn export_cuda_rpaths() {
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        println!("cargo::rerun-if-env-changed=CUDA_HOME");
        let toolkit = env::var_os("CUDA_HOME").unwrap_or_else(|| "/usr/local/cuda".into());
        export_rpaths("nvidia/cu13", &Path::new(&toolkit).join("lib64"));
    }
}

fn only_version<'a>(lock: &'a Table, package: &str) -> Option<&'a str> {
    let packages = lock.get("package")?.as_array()?;
    let mut found = packages
        .iter()
        .filter(|entry| entry.get("name") == Some(&Value::from(package)));
    match (found.next(), found.next()) {
        (Some(entry), None) => entry.get("version")?.as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_when_there_is_one() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\
                    [[package]]\nname = \"b\"\nversion = \"1.0.0\"\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";
        let lock: Table = lock.parse().expect("TOML");
        assert_eq!(only_version(&lock, "a"), Some("1.2.3"));
        assert_eq!(only_version(&lock, "b"), None);
        assert_eq!(only_version(&lock, "c"), None);
    }
}
