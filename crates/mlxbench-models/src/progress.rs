//! How far a model is that is being made.

/// A model that is being made, as far as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is made, as a user would name it.
    pub what: &'a str,
    /// Bytes of weights that are made.
    pub done_bytes: u64,
    /// Bytes of weights that there will be.
    pub total_bytes: u64,
}

/// Told of each step, the first of them before anything is done.
pub type Watch<'a> = &'a dyn Fn(Progress<'_>);

/// For those who don't watch.
pub const UNWATCHED: Watch<'static> = &|_| ();
