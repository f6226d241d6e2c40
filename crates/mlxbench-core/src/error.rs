//! One error type for the contract. Messages say what, where and what to do.

use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a model folder and its tokens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The folder or file isn't a model that mlxbench can use.
    #[error("{path}: {message}")]
    Model {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The request can't be met: a bad count, an unknown device, ids outside the vocabulary.
    #[error("{0}")]
    Invalid(String),
    /// The backend can't do this here; the text is the framework's own where it has one.
    #[error("{0}")]
    Unsupported(String),
    /// The framework failed while working.
    #[error("{0}")]
    Framework(String),
}

impl Error {
    /// An I/O error at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// A model file or folder that can't be used.
    pub fn model(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Model {
            path: path.into(),
            message: message.into(),
        }
    }

    /// A framework's failure, in its own words.
    pub fn framework(source: impl std::fmt::Display) -> Self {
        Self::Framework(source.to_string())
    }
}
