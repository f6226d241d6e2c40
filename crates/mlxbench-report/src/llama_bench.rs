//! Results in the form that llama-bench itself writes, for the tools that read it.
//!
//! llama-bench times one thing an entry: `n_prompt` tokens handed over at once (pp), or `n_gen`
//! steps of one token each (tg), with `n_depth` tokens in the cache before the clock starts. Ours
//! become entries of exactly these definitions:
//!
//! | test | entry | time of a sample |
//! |---|---|---|
//! | `pp512` | pp512 | t_1 |
//! | `tg128` | tg128 | t_128: it starts from one token, so every token is a step |
//! | `pp512+tg128` | pp512 | t_1 |
//! | | tg127 @ d512 | t_128 - t_1: its first token comes from the prompt, 127 steps follow |
//!
//! So `samples_ts` are `n_prompt` or `n_gen` over `samples_ns`, as in llama-bench's own files. Only for
//! `tg128` does that differ from our decode rate, which leaves the first step out. A combined test
//! makes no pg entry, which would tell nothing that the two don't. Where two tests of a config make the
//! same entry, as `pp512` and `pp512+tg128` do, it is there twice; tools average them.
//!
//! Left out, since the format can't say it: rows without figures, other workloads than a generation of one
//! row, and speeds
//! of no work (logits that aren't finite). A row whose mode is `synchronous`, or that did other work
//! than the reference or couldn't be compared with it, says so in `backends`, which tools never mix.
//!
//! Every key of llama-bench is there and none is null, since `scripts/compare-llama-bench.py` matches
//! by them: what has no meaning here has the value that llama-bench writes for "not set". Keys that
//! begin with `mlxbench_` are ours; they let [`crate::external`] tell these entries from llama-bench's.

pub(crate) mod sql;
mod table;

use mlxbench_analysis::{Row, RowStatus, summarize};
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{GenerateTest, RunResult, Sample, TargetFacts, TargetId, Verdict};
use serde::Serialize;

/// One entry, in llama-bench's order.
#[derive(Serialize)]
struct Entry {
    build_commit: String,
    build_number: u64,
    cpu_info: String,
    gpu_info: String,
    backends: String,
    model_filename: String,
    model_type: String,
    model_size: u64,
    model_n_params: u64,
    n_batch: usize,
    n_ubatch: usize,
    n_threads: usize,
    cpu_mask: &'static str,
    cpu_strict: bool,
    poll: u64,
    type_k: &'static str,
    type_v: &'static str,
    /// -1 is all of them.
    n_gpu_layers: i64,
    n_cpu_moe: u64,
    split_mode: &'static str,
    main_gpu: usize,
    no_kv_offload: bool,
    /// -1 leaves it to the framework.
    flash_attn: i64,
    devices: String,
    tensor_split: &'static str,
    tensor_buft_overrides: &'static str,
    load_mode: &'static str,
    /// What older versions have in place of `load_mode`.
    use_mmap: bool,
    embeddings: bool,
    no_op_offload: u64,
    no_host: bool,
    fit_target: u64,
    fit_min_ctx: u64,
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    test_time: String,
    avg_ns: u64,
    stddev_ns: u64,
    avg_ts: f64,
    stddev_ts: f64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
    mlxbench_version: String,
    mlxbench_target: String,
    mlxbench_mode: &'static str,
}

/// An array of entries, as `llama-bench -o json` writes it.
pub(crate) fn json(results: &[RunResult]) -> Vec<u8> {
    let entries: Vec<Entry> = results.iter().flat_map(entries).collect();
    let mut bytes = serde_json::to_vec_pretty(&entries)
        .expect("entries have string keys only, and a Vec takes every write");
    bytes.push(b'\n');
    bytes
}

/// A table with the build below it, as `llama-bench -o md` writes it: mean ± standard deviation.
pub(crate) fn markdown(results: &[RunResult]) -> String {
    let entries: Vec<Entry> = results.iter().flat_map(entries).collect();
    table::render(&entries)
}

/// SQL, as `llama-bench -o sql` writes it.
pub(crate) fn sql(results: &[RunResult]) -> String {
    let entries: Vec<Entry> = results.iter().flat_map(entries).collect();
    sql::render(&entries)
}

/// The entries of a result, row by row.
fn entries(result: &RunResult) -> Vec<Entry> {
    let rows = summarize(result).rows.into_iter();
    let sound = rows.filter(|row| row.status != RowStatus::NotFinite && row.test.rows() == 1);
    sound
        .flat_map(|row| {
            let parts = row.test.as_generate().map(parts).unwrap_or_default();
            let entries = parts
                .into_iter()
                .filter_map(|part| entry(result, &row, &part));
            entries.collect::<Vec<_>>()
        })
        .collect()
}

/// What llama-bench would call a part of a test, and how long it took.
struct Part {
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    time_ns: fn(&Sample) -> Option<u64>,
}

fn parts(test: &GenerateTest) -> Vec<Part> {
    let GenerateTest {
        prompt_tokens,
        generate_tokens,
        depth,
        ..
    } = *test;
    let whole = |sample: &Sample| Some(sample.token_ns.last()?.0);
    let steps = |sample: &Sample| {
        let (first, last) = (sample.token_ns.first()?, sample.token_ns.last()?);
        Some(last.since(*first).0)
    };
    let prompt = Part {
        n_prompt: prompt_tokens,
        n_gen: 0,
        n_depth: depth,
        time_ns: |sample| Some(sample.token_ns.first()?.0),
    };
    let generation = match prompt_tokens {
        0 => Part {
            n_prompt: 0,
            n_gen: generate_tokens,
            n_depth: depth,
            time_ns: whole,
        },
        _ => Part {
            n_prompt: 0,
            n_gen: generate_tokens.saturating_sub(1),
            n_depth: depth + prompt_tokens,
            time_ns: steps,
        },
    };
    let parts = [prompt, generation].into_iter();
    parts
        .filter(|part| part.n_prompt + part.n_gen > 0)
        .collect()
}

/// `None` when no repetition took any time.
fn entry(result: &RunResult, row: &Row, part: &Part) -> Option<Entry> {
    let samples = result.samples_of(&row.target, &row.test);
    let times = samples.filter_map(part.time_ns).filter(|&ns| ns > 0);
    let samples_ns: Vec<u64> = times.collect();
    if samples_ns.is_empty() {
        return None;
    }
    let tokens = (part.n_prompt + part.n_gen) as f64;
    let rate = |&ns: &u64| tokens * 1e9 / ns as f64;
    let samples_ts: Vec<f64> = samples_ns.iter().map(rate).collect();
    let nanos: Vec<f64> = samples_ns.iter().map(|&ns| ns as f64).collect();

    let run = &result.run;
    let facts = result.targets.iter().find(|facts| facts.id == row.target);
    let placement = &row.target.placement;
    let precision = placement.precision;
    let cache = precision.kv_cache().name();
    let on_cpu = placement.device.kind() == "cpu";
    let first = result.samples_of(&row.target, &row.test).next();
    let began = first
        .and_then(|sample| sample.started)
        .unwrap_or(run.started);
    let asked = row.target.threads.map_or(run.settings.threads, usize::from);
    Some(Entry {
        // llama-bench's own words for a build outside of a checkout.
        build_commit: run.mlxbench.commit.clone().unwrap_or("unknown".into()),
        build_number: 0,
        cpu_info: run.machine.cpu.clone(),
        gpu_info: if on_cpu {
            String::new()
        } else {
            gpu(result, facts)
        },
        backends: backends(result, row),
        model_filename: run.model.source.clone(),
        model_type: format!(
            "{} {} {}",
            run.model.architecture,
            crate::units::count(run.model.parameters),
            precision.to_string().to_uppercase()
        ),
        model_size: model_size(result, &row.target),
        model_n_params: run.model.parameters,
        n_batch: run.settings.chunk,
        n_ubatch: run.settings.chunk,
        n_threads: facts.map_or(asked, |facts| facts.threads),
        cpu_mask: "0x0",
        cpu_strict: false,
        poll: 0,
        type_k: cache,
        type_v: cache,
        n_gpu_layers: if on_cpu { 0 } else { -1 },
        n_cpu_moe: 0,
        split_mode: "none",
        main_gpu: placement.device.index(),
        no_kv_offload: false,
        flash_attn: -1,
        devices: match on_cpu {
            true => "none".into(),
            false => placement.device.to_string(),
        },
        tensor_split: "0.00",
        tensor_buft_overrides: "none",
        load_mode: "none",
        use_mmap: false,
        embeddings: false,
        no_op_offload: 0,
        no_host: false,
        fit_target: 0,
        fit_min_ctx: 0,
        n_prompt: part.n_prompt,
        n_gen: part.n_gen,
        n_depth: part.n_depth,
        test_time: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        avg_ns: mean(&nanos) as u64,
        stddev_ns: deviation(&nanos) as u64,
        avg_ts: mean(&samples_ts),
        stddev_ts: deviation(&samples_ts),
        samples_ns,
        samples_ts,
        mlxbench_version: run.mlxbench.version.clone(),
        mlxbench_target: row.target.to_string(),
        mlxbench_mode: row.test.mode().name(),
    })
}

/// Bytes of the weights. Where the shapes aren't known, all of them as in the dtype of a plain precision.
fn model_size(result: &RunResult, target: &TargetId) -> u64 {
    let element = target.placement.precision.compute().size_bytes();
    let storage = result.storage_of(target);
    storage.map_or(result.run.model.parameters * element, |storage| {
        storage.weights_bytes()
    })
}

/// The backend, and what keeps its figures from being compared with others'.
fn backends(result: &RunResult, row: &Row) -> String {
    let mode = match row.test.mode() {
        Mode::Pipelined => "",
        Mode::Synchronous => " sync",
    };
    let equivalence = result.equivalence_of(&row.target);
    let work = match equivalence.map(|known| known.verdict) {
        Some(verdict @ (Verdict::Different | Verdict::Unchecked)) => {
            format!(" ({} work)", verdict.name())
        }
        _ => String::new(),
    };
    format!("{}{mode}{work}", row.target.backend)
}

fn gpu(result: &RunResult, facts: Option<&TargetFacts>) -> String {
    let described = facts.and_then(|facts| facts.device_description.clone());
    let own = || result.run.machine.gpu.as_ref().map(|gpu| gpu.name.clone());
    described.or_else(own).unwrap_or_default()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample, 0 for a single one, as llama-bench has it.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_those_of_a_sample() {
        assert_eq!(deviation(&[5.0]), 0.0);
        assert_eq!(deviation(&[1.0, 2.0, 3.0]), 1.0);
    }
}
