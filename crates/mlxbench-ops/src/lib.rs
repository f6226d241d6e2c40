//! Gemma's ops one by one, timed by criterion: one definition for all adapters.
//!
//! ```text
//! cargo bench -p mlxbench-candle --bench ops                       # everything, some minutes
//! cargo bench -p mlxbench-tch --bench ops -- --quick decode        # decode only, roughly
//! MLXBENCH_OPS_DTYPE=bf16 cargo bench -p mlxbench-mlx --bench ops
//! ```
//!
//! | variable | what it picks | default |
//! |---|---|---|
//! | `MLXBENCH_OPS_MODEL` | the preset whose shapes are taken: `gemma-2-2b` | `gemma-3-270m` |
//! | `MLXBENCH_OPS_DEVICE` | a device of the backend's, or `best` for the first that it finds | `cpu` |
//! | `MLXBENCH_OPS_DTYPE` | `f32`, `bf16` or `f16` | `f32` |
//!
//! # What is timed
//!
//! The adapter's own code, on a whole model that it has loaded itself: random weights of the
//! preset's shapes (`synthetic:PRESET`), which are made once and kept in the user's cache folder.
//! [`Op::all`] lists the ops: each [`Part`] of a pass, once as it is in the prefill of 512 tokens
//! and once as it is in a decode step at depth 512. An op is the same stretch of Gemma in all
//! adapters, however many kernels a framework takes for it: queries, keys and values are one op,
//! whether the adapter fuses their products or not.
//!
//! - The weights of the layers take turns from run to run, as in a pass. One layer's alone would
//!   stay in a CPU's cache, and be read faster than a decode step can.
//! - A time ends when the device is done. The wait comes after each turn over the layers and at
//!   the end of a sample, not after each run: on a GPU it takes longer than a small op, and a pass
//!   waits once. An MLX graph is evaluated there too. A GPU may overlap runs of a turn, which don't
//!   depend on one another.
//! - Time a run x [`Op::occurrences`], summed over the ops of a phase that aren't composite, is
//!   where the time of a pass goes. Residual sums, the lookup of embeddings and masks are no ops:
//!   what a `layer` takes beyond its parts is theirs, and the framework's between ops.
//!
//! # What a run leaves behind
//!
//! criterion's own files in `target/criterion` (`$CRITERION_HOME`), and beside them
//! `mlxbench-ops/<backend>-<device>-<precision>-<model>.json`, an [`OpsFile`], which says what they
//! are about:
//!
//! ```json
//! {
//!   "schema": 2,
//!   "identity": {"backend": "candle", "framework": "candle", "version": "0.11.1", "libraries": {}},
//!   "device": "cpu",
//!   "precision": "f32",
//!   "model": "gemma-3-270m",
//!   "threads": 2,
//!   "prefill_tokens": 512,
//!   "decode_depth": 512,
//!   "ops": [
//!     {
//!       "phase": "decode",
//!       "name": "attention (local) @ d512",
//!       "part": "attention (local)",
//!       "composite": false,
//!       "occurrences": 15,
//!       "operations": 2097152,
//!       "bytes": 2101248,
//!       "criterion": "candle_cpu_f32 gemma-3-270m/decode_attention (local) @ d512"
//!     }
//!   ]
//! }
//! ```
//!
//! - `criterion` is a folder beside `mlxbench-ops`: `<criterion>/new/estimates.json` has the time
//!   of one run in nanoseconds (`median.point_estimate`, `mean.point_estimate`), with intervals.
//! - `occurrences` says how often a pass runs the op: a prefill of `prefill_tokens`, or one decode
//!   step with `decode_depth` tokens in the cache.
//! - `composite` marks a whole layer, made of other ops of the list: leave it out of sums.
//! - `operations` and `bytes` are of one run, counted as `mlxbench_core::gemma` counts a pass:
//!   multiplications and additions of matrix products; weights and cache that must be read, cache
//!   that must be written. 0 where an op has neither.
//! - The file is about one run: under a filter it lists the ops that the filter let through, and a
//!   run that measures nothing (`--list`, `--test`) leaves it as it was.
//!
//! | module | its subject |
//! |---|---|
//! | `part` | the parts of a pass |
//! | `op` | a part in a phase: the list, shapes, occurrences |
//! | `work` | operations and bytes of an op |
//! | `model` | what an adapter implements: [`Ops`], [`Prepared`] |
//! | [`session`] | an op of an adapter's layers, run alone: what is the same for all |
//! | `file` | [`OpsFile`] |
//!
//! `mlxbench-ops-bench` is the benchmark itself, the whole `main` of an adapter's bench, and
//! `mlxbench-conformance` runs every op of an adapter once, for its tests.

mod file;
mod model;
mod op;
mod part;
pub mod session;
mod work;

pub use file::{MeasuredOp, OpsFile, SCHEMA, safe};
pub use model::{Ops, Prepared};
pub use op::{Op, Phase, Workload};
pub use part::Part;
pub use session::PreparedOp;
