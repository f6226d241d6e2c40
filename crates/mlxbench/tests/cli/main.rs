//! The command line as users meet it: real processes, real files.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

mod bad_input;
mod baselines;
mod bench;
mod bisect;
mod chat;
mod compare;
mod equivalence;
mod field;
mod field_gguf;
mod first_hour;
mod generate;
mod interrupts;
mod loading;
mod lora;
mod lost_outputs;
mod measure;
mod ops;
mod outputs;
mod per_layer;
mod precision;
mod processes;
mod report;
mod run;
mod schema;
mod serve;
mod setup;
mod share;
mod stops;
mod support;
mod throttling;
mod timing;
mod versions;
mod workers;
