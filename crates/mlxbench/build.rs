//! Notes the git commit and the compiler of this build, which every result names.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    output(Command::new("git").args(arguments))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"]);
        let mark = if dirty.is_some_and(|changes| !changes.is_empty()) {
            "-dirty"
        } else {
            ""
        };
        println!("cargo:rustc-env=MLXBENCH_COMMIT={commit}{mark}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Some(version) = output(Command::new(rustc).arg("--version")) {
        println!("cargo:rustc-env=MLXBENCH_COMPILER={version}");
    }
    let target = std::env::var("TARGET").unwrap_or_default();
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags = flags.replace('\u{1f}', " ");
    let flags = format!("--target {target} -C opt-level={level} {flags}");
    println!("cargo:rustc-env=MLXBENCH_COMPILER_FLAGS={}", flags.trim());
    println!("cargo:rerun-if-changed=build.rs");
}
