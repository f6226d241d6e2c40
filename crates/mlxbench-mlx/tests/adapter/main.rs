//! Tests of the adapter against what every adapter has to hold to.

mod backend;
mod goldens;
mod ops;
mod quantised;
mod refusals;
mod timing;
mod train;
mod trials;
