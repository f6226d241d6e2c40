//! Results in llama-bench's form, and read back.

use mlxbench_analysis::summarize;
use mlxbench_core::Device;
use mlxbench_core::gemma::preset;
use mlxbench_core::generate::Mode;
use mlxbench_core::results::{
    Equivalence, GenerateTest, PeakSince, RunResult, Sample, TargetFacts, TargetId, Test, Verdict,
};
use mlxbench_core::{Dtype, Nanos, Placement};
use mlxbench_report::external::{External, read};
use mlxbench_report::{Beside, Format, render};
use serde_json::Value;

use crate::support::resized;

fn json(results: &[RunResult]) -> Vec<u8> {
    render(results, &Beside::default(), Format::LlamaBenchJson)
}

fn markdown(results: &[RunResult]) -> String {
    let bytes = render(results, &Beside::default(), Format::LlamaBenchMarkdown);
    String::from_utf8(bytes).expect("Markdown is UTF-8")
}

fn test(prompt_tokens: usize, generate_tokens: usize) -> Test {
    Test::Generate(GenerateTest {
        prompt_tokens,
        generate_tokens,
        depth: 0,
        batch: 1,
        mode: Mode::Pipelined,
    })
}

fn target(device: &str, dtype: Dtype) -> TargetId {
    TargetId {
        backend: "candle".into(),
        placement: Placement {
            device: device.parse::<Device>().expect("a device"),
            precision: dtype.into(),
        },
        threads: None,
        side: None,
    }
}

fn facts(id: &TargetId) -> TargetFacts {
    TargetFacts {
        id: id.clone(),
        identity: serde_json::from_value(serde_json::json!({
            "backend": "candle", "framework": "candle", "version": "0.11.1", "libraries": {}
        }))
        .expect("JSON of this shape"),
        device_description: (id.placement.device.kind() != "cpu").then(|| "A | GPU".into()),
        threads: 2,
        reads: None,
        kernels: Default::default(),
        storage: None,
        load_ns: vec![Nanos(1)],
    }
}

fn sample(target: &TargetId, test: Test, repetition: usize, token_ns: &[u64]) -> Sample {
    Sample {
        target: target.clone(),
        test,
        repetition,
        attempt: 0,
        process: None,
        tokens: vec![vec![7; token_ns.len()]; test.rows()],
        token_ns: token_ns.iter().copied().map(Nanos).collect(),
        finite: true,
        turns: None,
        losses: Vec::new(),
        requests: Vec::new(),
        form: None,
        peak_memory_bytes: None,
        peak_memory_since: PeakSince::Repetition,
        device_peak_bytes: None,
        started: None,
        wall_ns: None,
        timeline: None,
        energy_joules: None,
        energy_unavailable: None,
        conditions: None,
        throttled: false,
    }
}

/// `candle/cpu/f32` with every kind of test in three repetitions, and targets that measured nothing.
fn run() -> RunResult {
    let run = serde_json::json!({
        "name": "quick",
        "started": "2026-11-23T07:00:00Z",
        "mlxbench": { "version": "0.1.0", "commit": "deee1a1", "profile": "release" },
        "machine": {
            "os": "Debian 12", "kernel": null, "arch": "x86_64", "cpu": "a \"processor\"",
            "physical_cores": 2, "logical_cores": 4, "memory_bytes": 1 << 30
        },
        "model": {
            "name": "evil|`model`", "source": "hf:evil|`model`/x", "folder": "models/evil",
            "architecture": "gemma3|<b>", "parameters": 268_098_176, "stored_bytes": 536_196_352
        },
        "settings": {
            "repetitions": 3, "warmup": 1, "chunk": 512, "threads": 2, "seed": 0,
            "residency": "together"
        },
        "tests": [],
        "targets": []
    });
    let mut result = RunResult::new(serde_json::from_value(run).expect("JSON of this shape"));
    let cpu = target("cpu", Dtype::F32);
    let deep = resized(test(0, 3), |test| test.depth = 4096);
    let rows_of_two = resized(test(64, 2), |test| test.batch = 2);
    result.run.tests = vec![test(512, 0), test(64, 4), deep, test(8, 1), rows_of_two];
    result.run.targets = vec![cpu.clone(), target("cpu", Dtype::F16)];
    result.targets = vec![facts(&cpu)];
    for repetition in 0..3 {
        let ms = |ms: u64| ms * 1_000_000 + repetition as u64 * 100_000;
        let mut measured = |test, times: &[u64]| {
            let sample = sample(&cpu, test, repetition, times);
            result.samples.push(sample);
        };
        measured(test(512, 0), &[ms(256)]);
        measured(
            test(64, 4),
            &[ms(32), ms(42), ms(52), 3 * ms(20) + 2_000_000],
        );
        measured(deep, &[ms(20), ms(30), ms(40)]);
        measured(test(8, 1), &[ms(5)]);
        measured(rows_of_two, &[ms(32), ms(42)]);
    }
    result
}

fn text(results: &[RunResult]) -> String {
    String::from_utf8(json(results)).expect("UTF-8")
}

fn entries(results: &[RunResult]) -> Vec<Value> {
    serde_json::from_slice(&json(results)).expect("JSON of this shape")
}

fn read_back(results: &[RunResult]) -> External {
    let read = read("own.json", &json(results));
    read.expect("a sound file").expect("a known program")
}

#[test]
fn json_has_llama_benchs_keys() {
    let mut result = run();
    result.run.tests.truncate(1);
    insta::assert_snapshot!(text(&[result]));
}

#[test]
fn markdown_has_llama_benchs_columns() {
    insta::assert_snapshot!(markdown(&[run()]));
}

#[test]
fn markdown_shows_a_gpu_and_other_chunks() {
    let mut result = run();
    let gpu = target("cuda:1", Dtype::Bf16);
    result.run.targets = vec![gpu.clone()];
    result.targets = vec![facts(&gpu)];
    result.run.settings.chunk = 256;
    result
        .samples
        .iter_mut()
        .for_each(|sample| sample.target = gpu.clone());
    insta::assert_snapshot!(markdown(&[result]));
}

#[test]
fn quantised_weights_are_named_and_as_large_as_they_are_kept() {
    let mut result = run();
    let mut q4 = target("cpu", Dtype::Bf16);
    q4.placement.precision = "q4-bf16".parse().expect("a precision");
    result.run.targets = vec![q4.clone()];
    for sample in &mut result.samples {
        sample.target = q4.clone();
    }
    let config = preset("gemma-3-270m").expect("a preset").config();
    let size = config.weights_bytes(q4.placement.precision);
    result.run.model.config = Some(config);
    let entry = &entries(&[result.clone()])[0];
    let kind = entry["model_type"].as_str().expect("text");
    assert!(kind.ends_with(" Q4-BF16"), "{kind}");
    assert_eq!(entry["model_size"], size);
    assert_eq!(entry["type_k"], "bf16");
    let rows = read_back(&[result]).rows;
    assert!(rows.iter().all(|row| row.dtype == "q4-bf16"));
}

#[test]
fn no_value_is_null() {
    for entry in entries(&[run()]) {
        let values = entry.as_object().unwrap().iter();
        let nulls: Vec<_> = values.filter(|(_, value)| value.is_null()).collect();
        assert!(nulls.is_empty(), "{nulls:?}");
    }
}

#[test]
fn each_entry_is_what_llama_bench_calls_so() {
    let counts =
        |entry: &Value| ["n_prompt", "n_gen", "n_depth"].map(|k| entry[k].as_u64().unwrap());
    let counted: Vec<_> = entries(&[run()]).iter().map(counts).collect();
    let expected = [[512, 0, 0], [64, 0, 0], [0, 3, 64], [0, 3, 4096], [8, 0, 0]];
    assert_eq!(counted, expected);
}

#[test]
fn a_rate_is_its_tokens_over_its_time() {
    for entry in entries(&[run()]) {
        let tokens = entry["n_prompt"].as_f64().unwrap() + entry["n_gen"].as_f64().unwrap();
        let numbers = |key: &str| entry[key].as_array().unwrap().clone();
        let pairs = numbers("samples_ns").into_iter().zip(numbers("samples_ts"));
        for (ns, rate) in pairs {
            assert_eq!(tokens * 1e9 / ns.as_f64().unwrap(), rate.as_f64().unwrap());
        }
    }
}

#[test]
fn steps_after_a_prompt_have_our_decode_rate() {
    let (result, read) = (run(), read_back(&[run()]));
    let ours = summarize(&result).rows[1].decode_tokens_per_second.unwrap();
    let theirs = read.rows[2].decode_tokens_per_second.unwrap();
    assert!((ours.median / theirs.median - 1.0).abs() < 1e-12);
    let ours = summarize(&result).rows[1]
        .prefill_tokens_per_second
        .unwrap();
    let theirs = read.rows[1].prefill_tokens_per_second.unwrap();
    assert!((ours.median / theirs.median - 1.0).abs() < 1e-12);
}

#[test]
fn what_was_written_reads_back_as_ours() {
    let read = read_back(&[run()]);
    assert_eq!(read.tool, "mlxbench 0.1.0 (deee1a1)");
    assert_eq!(read.machine.as_deref(), Some("a \"processor\""));
    assert_eq!((read.rows.len(), read.skipped.len()), (5, 0));
    for row in &read.rows {
        let names = [&row.model, &row.backend, &row.device, &row.dtype];
        assert_eq!(names, ["hf:evil|`model`/x", "candle", "cpu", "f32"]);
        assert_eq!((row.threads, row.test.mode()), (Some(2), Mode::Pipelined));
    }
}

#[test]
fn speeds_of_no_work_are_left_out_and_other_work_is_named() {
    let mut result = run();
    result.samples[0].finite = false;
    assert_eq!(entries(&[result]).len(), 4);

    let mut result = run();
    result.equivalences.push(Equivalence {
        target: target("cpu", Dtype::F32),
        verdict: Verdict::Different,
        reason: None,
        fidelity: None,
    });
    let entry = &entries(&[result])[0];
    assert_eq!(entry["backends"], "candle (different work)");
}

#[test]
fn modes_are_kept_apart() {
    let mut result = run();
    let synchronous = |test: &mut Test| {
        *test = resized(*test, |test| test.mode = Mode::Synchronous);
    };
    result.run.tests.iter_mut().for_each(synchronous);
    result
        .samples
        .iter_mut()
        .for_each(|sample| synchronous(&mut sample.test));
    assert_eq!(entries(&[result.clone()])[0]["backends"], "candle sync");
    let mut rows = read_back(&[result]).rows.into_iter();
    assert!(rows.all(|row| row.test.mode() == Mode::Synchronous));
}

#[test]
fn nothing_measured_is_an_empty_array() {
    let mut result = run();
    result.samples.clear();
    assert_eq!(text(&[result.clone()]), "[]\n");
    assert_eq!(markdown(&[result]).lines().count(), 2);
}
