//! Linux.

pub(super) mod conditions;
pub(super) mod facts;
pub(super) mod gauge;
pub(super) mod memory;
pub mod packages;
pub(super) mod power;
