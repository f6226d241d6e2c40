//! Reports of made-up runs, as text and as files.

mod breakdown;
mod comparison;
mod external;
mod hostile;
mod llama_bench;
mod page;
mod snapshots;
mod support;
