//! What stops a run before anything is measured. What stops one case is a
//! [`mlxbench_core::results::Failure`] instead.

use std::path::PathBuf;

use crate::system::LockError;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config is wrong.
    #[error("{path}: {message}")]
    Config {
        /// The config.
        path: PathBuf,
        /// What is wrong, where, and what to write instead.
        message: String,
    },
    /// The model can't be had or used.
    #[error(transparent)]
    Model(#[from] mlxbench_models::Error),
    /// The model folder or a request is wrong.
    #[error(transparent)]
    Core(#[from] mlxbench_core::Error),
    /// A file or folder can't be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's reason.
        reason: std::io::Error,
    },
    /// Another run goes on.
    #[error(transparent)]
    Busy(#[from] LockError),
    /// A baseline can't be had or kept.
    #[error("{0}")]
    Baseline(String),
    /// A result can't be shared.
    #[error("it can't be shared: {0}")]
    Share(String),
    /// There is nothing to resume, or it doesn't belong to this config.
    #[error("{0}")]
    Resume(String),
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, reason: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            reason,
        }
    }
}
