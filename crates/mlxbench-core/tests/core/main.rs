//! Tests of the contract from outside.

mod checkpoint;
mod example;
mod fuzz;
mod mock_worker;
mod packed;
mod quantise;
mod results;
