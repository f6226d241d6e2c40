//! Reports of made-up runs, as text and as files.

mod benchmark_action;
mod breakdown;
mod comparison;
mod external;
mod hostile;
mod field;
mod fuzz;
mod llama_bench;
mod page;
mod snapshots;
mod support;
mod written;
