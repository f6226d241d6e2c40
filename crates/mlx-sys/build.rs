//! Builds mlx-c against a prebuilt MLX and makes its bindings.
//!
//! | what | from where |
//! |---|---|
//! | MLX: headers, library, CMake configuration | `$MLX_DIR` |
//! | mlx-c's sources | the published mlx-sys package of this version, through cargo |
//! | CMake and Ninja | `$CMAKE` and `$NINJA`, then `$PATH`, then `$MLX_BUILD_TOOLS` |
//! | libclang | `$LIBCLANG_PATH`, then the system's, then `$MLX_BUILD_TOOLS` |
//!
//! `.cargo/config.toml` points the two folders at what `scripts/setup` unpacks. Dependents read the
//! folder of MLX's library as `DEP_MLX_LIB_DIR`, for their binaries' rpath.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Files of mlx-c that are compiled as one: few enough for two processors to have work.
const UNITY_FILES: usize = 16;

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shims");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let shims = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("shims");
    let mlx = mlx_dir()?;
    let sources = mlx_c_sources(&out)?;
    let archive_dir = compile(&mlx, &sources, &shims, &out.join("mlx-c"))?;
    bindings(&sources, &shims, &out)?;

    let lib_dir = mlx.join("lib");
    println!("cargo::rustc-link-search=native={}", archive_dir.display());
    println!("cargo::rustc-link-search=native={}", lib_dir.display());
    println!("cargo::rustc-link-lib=static=mlxc");
    println!("cargo::rustc-link-lib=dylib=mlx");
    let apple = variable("CARGO_CFG_TARGET_VENDOR")? == "apple";
    println!(
        "cargo::rustc-link-lib=dylib={}",
        if apple { "c++" } else { "stdc++" }
    );
    println!("cargo::metadata=lib_dir={}", lib_dir.display());
    Ok(())
}

/// An environment variable, watched for changes.
fn variable(name: &str) -> Result<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).map_err(|_| format!("{name} is not set"))
}

fn mlx_dir() -> Result<PathBuf> {
    let advice = "run scripts/setup, or set MLX_DIR to the `mlx` folder of an MLX wheel";
    let dir = PathBuf::from(variable("MLX_DIR").map_err(|error| format!("{error}: {advice}"))?);
    if !dir.join("share/cmake/MLX/MLXConfig.cmake").is_file() {
        return Err(format!("MLX is not in {}: {advice}", dir.display()));
    }
    dir.canonicalize()
        .map_err(|error| format!("{}: {error}", dir.display()))
}

/// The folder of mlx-c in the published package: a manifest of its own depends on that, since the
/// workspace's is patched to depend on us.
fn mlx_c_sources(out: &Path) -> Result<PathBuf> {
    let version = variable("CARGO_PKG_VERSION")?;
    let manifest = out.join("sources/Cargo.toml");
    let text = format!(
        "[package]\nname = \"sources\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
         [dependencies]\nmlx-sys = \"={version}\"\n[workspace]\n"
    );
    let write = || {
        std::fs::create_dir_all(out.join("sources"))?;
        std::fs::write(out.join("sources/lib.rs"), "")?;
        std::fs::write(&manifest, text)
    };
    write().map_err(|error| format!("{}: {error}", manifest.display()))?;

    // What cargo already has is enough; only else does it need the network.
    let metadata = cargo_metadata(&manifest, &["--offline"]).or_else(|offline| {
        cargo_metadata(&manifest, &[]).map_err(|online| format!("{online} ({offline})"))
    });
    let metadata = metadata.map_err(|error| {
        let error = error.replace('\n', " ");
        format!("mlx-c's sources, in the package mlx-sys {version}, can't be fetched: {error}")
    })?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages
        .into_iter()
        .find(|package| package["name"] == "mlx-sys");
    let manifest_path = package.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest_path.map(|path| Path::new(path).with_file_name("src/mlx-c"));
    folder.ok_or_else(|| "cargo metadata does not name the package mlx-sys".into())
}

fn cargo_metadata(manifest: &Path, options: &[&str]) -> Result<serde_json::Value> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .args(options);
    serde_json::from_slice(&run(&mut cargo)?).map_err(|error| error.to_string())
}

/// Builds `libmlxc.a` and returns its folder.
fn compile(mlx: &Path, sources: &Path, shims: &Path, build: &Path) -> Result<PathBuf> {
    let cmake = tool("cmake", "CMAKE")?;
    let ninja = tool("ninja", "NINJA")?;
    let define =
        |name: &str, value: &dyn AsRef<Path>| format!("-D{name}={}", value.as_ref().display());
    let mut configure = Command::new(&cmake);
    configure
        .arg("-S")
        .arg(sources)
        .arg("-B")
        .arg(build)
        .args(["-G", "Ninja"])
        .args([
            define("CMAKE_MAKE_PROGRAM", &ninja),
            define("CMAKE_PREFIX_PATH", &mlx),
            "-DCMAKE_BUILD_TYPE=Release".into(),
            format!(
                "-DCMAKE_CXX_FLAGS_RELEASE=-O{} -DNDEBUG",
                variable("OPT_LEVEL")?
            ),
            // The headers of MLX take longer to compile than what mlx-c adds: once, not once a file.
            "-DCMAKE_UNITY_BUILD=ON".into(),
            format!("-DCMAKE_UNITY_BUILD_BATCH_SIZE={UNITY_FILES}"),
            "-DMLX_C_USE_SYSTEM_MLX=ON".into(),
            "-DMLX_C_BUILD_EXAMPLES=OFF".into(),
            format!(
                "-DCMAKE_CXX_FLAGS=-include {}",
                shims.join("format.h").display()
            ),
        ]);
    // MLX for NVIDIA GPUs asks for CUDA and cuDNN, which scripts/setup unpacks beside it.
    let nvidia = mlx.with_file_name("nvidia");
    if nvidia.join("cudnn").is_dir() {
        configure.args([
            define("CUDAToolkit_ROOT", &nvidia.join("cu13")),
            define("CUDNN_INCLUDE_PATH", &nvidia.join("cudnn/include")),
            define("CUDNN_LIBRARY_PATH", &nvidia.join("cudnn/lib")),
        ]);
    }
    let target = variable("TARGET")?;
    let cross = target != variable("HOST")?;
    let toolchain = [
        ("CC", "CMAKE_C_COMPILER"),
        ("CXX", "CMAKE_CXX_COMPILER"),
        ("AR", "CMAKE_AR"),
        ("RANLIB", "CMAKE_RANLIB"),
    ];
    for (name, definition) in toolchain {
        let for_target = variable(&format!("{name}_{}", target.replace('-', "_")));
        match for_target.or_else(|_| variable(name)) {
            Ok(program) => configure.arg(define(definition, &program)),
            Err(_) => continue,
        };
    }
    if cross {
        let apple = variable("CARGO_CFG_TARGET_VENDOR")? == "apple";
        let arch = match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
            "aarch64" if apple => "arm64".to_owned(),
            other => other.to_owned(),
        };
        configure.arg(format!(
            "-DCMAKE_SYSTEM_NAME={}",
            if apple { "Darwin" } else { "Linux" }
        ));
        configure.arg(format!("-DCMAKE_SYSTEM_PROCESSOR={arch}"));
        configure.arg("-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY");
        configure.arg("-DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=BOTH");
        if apple {
            let sdk = variable("SDKROOT").unwrap_or_else(|_| "/".into());
            configure.arg(format!("-DCMAKE_OSX_ARCHITECTURES={arch}"));
            configure.arg(define("CMAKE_OSX_SYSROOT", &sdk));
        }
    }
    run(&mut configure)?;
    let jobs = variable("NUM_JOBS")?;
    run(Command::new(&cmake)
        .arg("--build")
        .arg(build)
        .args(["--target", "mlxc", "-j", &jobs]))?;
    Ok(build.to_owned())
}

/// Writes `bindings.rs`.
fn bindings(sources: &Path, shims: &Path, out: &Path) -> Result<()> {
    load_libclang()?;
    let mut builder = bindgen::Builder::default()
        .header(sources.join("mlx/c/mlx.h").display().to_string())
        .clang_arg(format!("-I{}", sources.display()))
        .clang_arg(format!("-I{}", shims.join("clang").display()))
        .allowlist_item("_?mlx_.*|b?float16_t")
        .opaque_type("_IO_FILE|__sFILE");
    // libclang alone has no builtin headers; the compiler's serve after all others.
    let compiler = variable("CC").unwrap_or_else(|_| "cc".into());
    if let Ok(path) = run(Command::new(compiler).arg("-print-file-name=include")) {
        builder = builder.clang_arg(format!(
            "-idirafter{}",
            String::from_utf8_lossy(&path).trim()
        ));
    }
    let bindings = builder
        .generate()
        .map_err(|error| format!("bindgen: {error}"))?;
    let path = out.join("bindings.rs");
    bindings
        .write_to_file(&path)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn load_libclang() -> Result<()> {
    let advice = "libclang is missing: run scripts/setup, or set LIBCLANG_PATH";
    let Err(error) = clang_sys::load() else {
        return Ok(());
    };
    let unpacked = ["libclang.so", "libclang.dylib"]
        .iter()
        .find_map(|name| unpacked(name));
    let library = unpacked.ok_or_else(|| format!("{advice} ({})", error.replace('\n', " ")))?;
    // SAFETY: nothing else runs in this program yet.
    unsafe { env::set_var("LIBCLANG_PATH", library) };
    clang_sys::load().map_err(|error| format!("{advice} ({error})"))
}

/// The program `name`: the one that `variable_name` names, or on the path, or unpacked.
fn tool(name: &str, variable_name: &str) -> Result<PathBuf> {
    if let Ok(path) = variable(variable_name) {
        return Ok(path.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    on_path
        .or_else(|| unpacked(name))
        .ok_or_else(|| format!("{name} is missing: run scripts/setup, or set {variable_name}"))
}

/// The file `name` somewhere under the folder of unpacked build tools.
fn unpacked(name: &str) -> Option<PathBuf> {
    fn find(dir: &Path, name: &str) -> Option<PathBuf> {
        let file = dir.join(name);
        if file.is_file() {
            return Some(file);
        }
        let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        entries
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|dir| find(dir, name))
    }
    find(Path::new(&variable("MLX_BUILD_TOOLS").ok()?), name)
}

/// Runs `command` to its end and returns what it printed.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", program.to_string_lossy()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    eprintln!("{command:?}\n{text}");
    let first = text
        .lines()
        .find(|line| line.to_lowercase().contains("error"))
        .unwrap_or_default();
    Err(format!(
        "{} failed: {}",
        program.to_string_lossy(),
        first.trim()
    ))
}
