//! candle can't tell its version at run time, so the versions that this build links are read from
//! the workspace's `Cargo.lock`, which cargo writes before it builds anything.

use std::env;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

fn main() {
    let manifest_dir = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let lock = Path::new(&manifest_dir)
        .ancestors()
        .map(|folder| folder.join("Cargo.lock"))
        .find(|path| path.is_file());
    let Some(lock) = lock else { return };
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock).expect("Cargo.lock was just found");
    let table: Table = text.parse().expect("Cargo.lock is TOML");
    for (package, variable) in [
        ("candle-core", "CANDLE_CORE_VERSION"),
        ("gemm", "GEMM_VERSION"),
    ] {
        if let Some(version) = only_version(&table, package) {
            println!("cargo::rustc-env={variable}={version}");
        }
    }
}

/// The version of `package`; `None` when the lock file has none or several, since then nobody
/// knows which of them is linked.
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
