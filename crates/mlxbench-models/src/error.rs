//! Why a model can't be had.

use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model can't be had. Messages say what, where and how to go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model folder is wrong.
    #[error(transparent)]
    Core(#[from] mlxbench_core::Error),
    /// The hub refuses, or can't be reached.
    #[error("{0}")]
    Hub(String),
    /// The name of a model makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A file or folder can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O error at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}
