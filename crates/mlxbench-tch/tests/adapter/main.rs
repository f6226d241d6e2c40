//! Tests of the adapter against what every adapter has to hold to.

mod goldens;
mod ops;
mod quantised;
mod refusals;
mod timing;
mod train;
mod trials;
