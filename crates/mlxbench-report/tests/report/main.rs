//! Reports of made-up runs, as text and as files.

mod answer;
mod benchmark_action;
mod breakdown;
mod comparison;
mod conditions;
mod external;
mod field;
mod fuzz;
mod history;
mod hostile;
mod llama_bench;
mod matrices;
mod page;
mod quantised;
mod snapshots;
mod support;
mod sweeps;
mod trials;
mod written;
