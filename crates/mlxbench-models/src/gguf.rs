//! GGUF files as models: imported once to the cache, in f32, so that every framework has the very weights
//! that the file's blocks stand for. The folder names the file, whose blocks frameworks that can may take
//! as they are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use mlxbench_core::Dtype;
use sha2::{Digest, Sha256};

use crate::program::program;
use crate::{Error, Result, cache};

/// The program that imports: dequantisation is a framework's work, and mlxbench links none.
const IMPORTER: &str = "mlxbench-gguf";

/// The command that imports `file` to the folder `output` with weights in `dtype`.
///
/// # Errors
/// When the program isn't there.
pub fn importer(file: &Path, output: &Path, dtype: Dtype) -> Result<Command> {
    let Some(importer) = program(IMPORTER) else {
        return Err(Error::Invalid(format!(
            "the program `{IMPORTER}` is neither beside mlxbench nor on PATH: scripts/mlxbench builds it"
        )));
    };
    let mut command = Command::new(importer);
    command.arg(file).arg("-o").arg(output);
    command.arg("--dtype").arg(dtype.name());
    Ok(command)
}

/// Where the folder of `file` is or would be: another one where the file has changed.
pub(crate) fn folder(file: &Path) -> Result<PathBuf> {
    let path = file
        .canonicalize()
        .map_err(|error| Error::io(file, error))?;
    let meta = path.metadata().map_err(|error| Error::io(file, error))?;
    if !meta.is_file() {
        let message = format!("{}: not a file: write gguf:FILE.gguf", file.display());
        return Err(Error::Invalid(message));
    }
    let modified = meta.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let mut hash = Sha256::new();
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update(meta.len().to_le_bytes());
    hash.update(since.map_or(0, |since| since.as_nanos()).to_le_bytes());
    let digest: String = hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let stem = path
        .file_stem()
        .unwrap_or(OsStr::new("model"))
        .to_string_lossy()
        .into_owned();
    Ok(cache::folder()?
        .join("gguf")
        .join(format!("{stem}-{digest}")))
}

/// The folder of `file`, imported when it isn't there.
pub(crate) fn resolve(file: &Path) -> Result<PathBuf> {
    let folder = folder(file)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
    }
    let mut command = importer(file, &folder, Dtype::F32)?;
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| Error::io(IMPORTER, error))?;
    // Another process may have been faster.
    if output.status.success() || folder.is_dir() {
        return Ok(folder);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(Error::Invalid(match last {
        Some(line) => line.trim_start_matches("error: ").to_owned(),
        None => format!(
            "`{IMPORTER}` ended with {}: is there too little memory?",
            output.status
        ),
    }))
}
