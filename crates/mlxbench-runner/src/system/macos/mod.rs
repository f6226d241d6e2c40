//! macOS on Apple silicon.

pub(super) mod conditions;
pub(super) mod facts;
pub(super) mod memory;
pub(super) mod power;
