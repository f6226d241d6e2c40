//! The user's folder for models that mlxbench made or imported.

use std::path::PathBuf;

use etcetera::{BaseStrategy, choose_base_strategy};

use crate::{Error, Result};

/// The variable that names the folder.
pub const VARIABLE: &str = "MLXBENCH_CACHE";

/// `$MLXBENCH_CACHE`, else `mlxbench` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`).
///
/// # Errors
/// When the user has no home.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let strategy = choose_base_strategy().map_err(|error| {
        Error::Invalid(format!("no folder for models ({error}): set {VARIABLE}"))
    })?;
    Ok(strategy.cache_dir().join("mlxbench"))
}
