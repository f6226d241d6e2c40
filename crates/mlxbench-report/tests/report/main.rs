//! Reports of made-up runs, as text and as files.

mod page;
mod snapshots;
mod support;
