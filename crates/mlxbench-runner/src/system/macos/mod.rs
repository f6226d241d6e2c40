//! macOS on Apple silicon.

pub(super) mod conditions;
pub(super) mod facts;
pub(super) mod gauge;
mod macmon;
pub(super) mod memory;
pub mod packages;
pub(super) mod power;
