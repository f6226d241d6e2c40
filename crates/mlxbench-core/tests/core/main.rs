//! Tests of the contract from outside.

mod checkpoint;
mod mock_worker;
mod results;
