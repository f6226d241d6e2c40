//! Files of other programs, whole, cut short and garbled. Their numbers are invented.

use std::fmt::Write as _;

use mlxbench_analysis::Estimate;
use mlxbench_core::generate::Mode;
use mlxbench_report::external::{External, ExternalError, read, tell_apart};
use mlxbench_report::{Beside, Format, render};
use serde_json::{Value, json};

const LLAMA_BENCH: &str = include_str!("fixtures/llama-bench.json");
const OLD_LLAMA_BENCH: &str = include_str!("fixtures/llama-bench-old.jsonl");
const MLX_LM: &str = include_str!("fixtures/mlx_lm.txt");

fn parsed(text: &str) -> External {
    let read = read("figures", text.as_bytes());
    read.expect("a sound file").expect("a known program")
}

fn refused(text: &str) -> ExternalError {
    read("figures", text.as_bytes()).expect_err("a faulty file")
}

/// Everything that was read, a line a row.
fn shown(external: &External) -> String {
    let mut text = String::new();
    let External {
        tool,
        file,
        machine,
        rows,
        skipped,
    } = external;
    writeln!(text, "{tool}, {file}, on {machine:?}").expect("a String takes every write");
    let rate = |rate: &Option<Estimate>| {
        let rate = rate.map(|rate| format!("{} of {}", rate.median, rate.n));
        rate.unwrap_or("-".into())
    };
    for row in rows {
        writeln!(
            text,
            "{} | {} | {} | {} | {:?} | {} | {} | {} | {:?}",
            row.model,
            row.backend,
            row.device,
            row.dtype,
            row.threads,
            row.test_and_settings(),
            rate(&row.prefill_tokens_per_second),
            rate(&row.decode_tokens_per_second),
            row.peak_memory_bytes
        )
        .expect("a String takes every write");
    }
    for reason in skipped {
        writeln!(text, "skipped {reason}").expect("a String takes every write");
    }
    text
}

#[test]
fn llama_bench() {
    insta::assert_snapshot!(shown(&parsed(LLAMA_BENCH)));
}

#[test]
fn an_old_llama_bench_has_means_only() {
    insta::assert_snapshot!(shown(&parsed(OLD_LLAMA_BENCH)));
}

#[test]
fn mlx_lm() {
    insta::assert_snapshot!(shown(&parsed(MLX_LM)));
}

#[test]
fn raw_samples_give_intervals() {
    let external = parsed(LLAMA_BENCH);
    let samples = [10_000.0, 10_100.0, 10_050.0, 9_950.0, 10_025.0];
    let rate = external.rows[0].prefill_tokens_per_second;
    assert_eq!(rate, Estimate::of(&samples));
    assert!(rate.unwrap().interval.is_some());
}

#[test]
fn times_serve_where_rates_are_missing() {
    let renamed = LLAMA_BENCH.replace("samples_ts", "samples_of_another_name");
    let rate = parsed(&renamed).rows[1].decode_tokens_per_second.unwrap();
    assert_eq!((rate.median.round(), rate.n), (201.0, 5));
}

#[test]
fn several_files_in_one_are_read_together() {
    let both = parsed(&format!("{LLAMA_BENCH}{OLD_LLAMA_BENCH}"));
    assert_eq!(both.rows.len(), 5);
    assert_eq!(
        both.tool,
        "llama-bench 7654 (0123abc); llama-bench 1234 (89abcde)"
    );
}

#[test]
fn each_mode_is_named() {
    let modes = |external: External| external.rows.into_iter().map(|row| row.test.mode());
    assert!(modes(parsed(MLX_LM)).all(|mode| mode == Mode::Pipelined));
    let llama_bench: Vec<Mode> = modes(parsed(LLAMA_BENCH)).collect();
    let [prompt, steps] = [Mode::Pipelined, Mode::Synchronous];
    assert_eq!(llama_bench, [prompt, steps, steps]);
}

#[test]
fn files_of_neither_are_left_to_others() {
    for text in [
        "",
        "  \n",
        "[]",
        "{}",
        "[1, 2]",
        r#"{"schema_version": 2, "run": {"name": "a \"model_filename\""}}"#,
        r#"[{"build_commit": "abc", "op_name": "MUL_MAT"}]"#,
        r#"[{"model_filename": "of yet another program"}]"#,
        "Timing with a stopwatch",
        "Running warmup..",
    ] {
        assert_eq!(read("figures", text.as_bytes()), Ok(None), "{text}");
    }
    let noise = [0xff, 0x00, 0xfe];
    assert_eq!(read("figures", &noise), Ok(None));
}

#[test]
fn a_fault_says_where_and_what() {
    let cases = [
        LLAMA_BENCH[..LLAMA_BENCH.len() / 2].to_owned(),
        LLAMA_BENCH.replace("\"n_gen\": 128", "\"n_gen\": \"many\\u001b\""),
        LLAMA_BENCH.replace("[ 200.0, 201.5", "[ 200.0, -1"),
        LLAMA_BENCH.replace("\"n_prompt\": 512", "\"n_prompt\": 0"),
        OLD_LLAMA_BENCH.replace("\"avg_ts\": 7.5", "\"avg_ts\": null"),
        OLD_LLAMA_BENCH.replace("\"n_threads\": 4", "\"n_threads\": -4"),
        LLAMA_BENCH[LLAMA_BENCH.len() / 3..].to_owned(),
        format!("{LLAMA_BENCH}]"),
        format!("{LLAMA_BENCH}log: {OLD_LLAMA_BENCH}"),
        "build_commit,build_number,cpu_info,model_filename,n_gen\n\"a\",\"1\"\n".into(),
        "CREATE TABLE test (x);\nINSERT INTO test (build_commit, model_filename) VALUES ('a');\n"
            .into(),
        "| model  |   size |     params | backend    |   test |      t/s |\n| --- |\n".into(),
        MLX_LM.replace("batch_size=4.", "batch_size=none."),
        MLX_LM.replace("generation_tps=640.000", "generation_tps=nan"),
        MLX_LM.replace("Averages: prompt_tps=9005.175", "Mean: 9005.175"),
        MLX_LM.replace("Averages: prompt_tps=12050.000", "Mean: 12050.000"),
    ];
    let messages: Vec<String> = cases.iter().map(|text| refused(text).to_string()).collect();
    insta::assert_snapshot!(messages.join("\n"));
}

/// What is left of a file never panics, and never says more than the whole file.
#[test]
fn a_file_cut_anywhere_is_refused_or_says_less() {
    for whole in [LLAMA_BENCH, OLD_LLAMA_BENCH, MLX_LM] {
        let external = parsed(whole);
        for end in 0..whole.len() {
            let Ok(Some(cut)) = read("figures", &whole.as_bytes()[..end]) else {
                continue;
            };
            let rows = cut.rows.len();
            assert_eq!(cut.rows, external.rows[..rows], "cut at {end}");
        }
    }
}

#[test]
fn an_array_that_was_cut_is_refused_wherever_its_first_entry_is_known() {
    let from = LLAMA_BENCH.find("model_filename\"").unwrap() + "model_filename\"".len();
    for end in from..LLAMA_BENCH.trim_end().len() {
        assert!(read("figures", &LLAMA_BENCH.as_bytes()[..end]).is_err());
    }
}

/// A file with a byte changed never panics.
#[test]
fn a_garbled_file_never_panics() {
    for whole in [LLAMA_BENCH, OLD_LLAMA_BENCH, MLX_LM] {
        for place in (0..whole.len()).step_by(11) {
            for byte in [b'\0', b'"', b'-', b'9', 0xff] {
                let mut bytes = whole.as_bytes().to_vec();
                bytes[place] = byte;
                let _ = read("figures", &bytes);
            }
        }
    }
}

/// An entry of llama-bench with these keys in place of its own.
fn entry(keys: Value) -> Value {
    let all: Value = serde_json::from_str(LLAMA_BENCH).expect("an array");
    let mut entry = all[0].clone();
    for (key, value) in keys.as_object().expect("keys") {
        entry[key] = value.clone();
    }
    entry
}

/// What tells rows apart: device, test and settings.
fn names(entries: &[Value]) -> Vec<String> {
    let rows = parsed(&json!(entries).to_string()).rows;
    let names = rows
        .iter()
        .map(|row| format!("{} {}", row.device, row.test_and_settings()));
    names.collect()
}

#[test]
fn whatever_setting_differs_is_said_and_no_other() {
    for (key, a, b) in [
        ("n_batch", json!(512), json!(2048)),
        ("n_ubatch", json!(128), json!(512)),
        ("type_k", json!("q8_0"), json!("f16")),
        ("type_v", json!("q4_0"), json!("f16")),
        ("split_mode", json!("row"), json!("none")),
        ("main_gpu", json!(1), json!(0)),
        ("tensor_split", json!("0.50/0.50"), json!("0.00")),
        ("no_kv_offload", json!(true), json!(false)),
        ("poll", json!(0), json!(50)),
        ("cpu_mask", json!("0xf"), json!("0x0")),
        ("embeddings", json!(true), json!(false)),
        ("use_mmap", json!(false), json!(true)),
        ("a_setting_of_next_year", json!([1, 2]), json!(null)),
    ] {
        let plain = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let expected = [&a, &b].map(|value| format!("CUDA pp512 ({key}={})", plain(value)));
        let found = names(&[entry(json!({key: a})), entry(json!({key: b}))]);
        assert_eq!(found, expected);
    }
    let three = [
        json!({"flash_attn": 0, "n_ubatch": 128}),
        json!({"flash_attn": 1, "n_ubatch": 128}),
        json!({"flash_attn": 1, "n_ubatch": 256, "n_prompt": 64}),
    ];
    assert_eq!(
        names(&three.map(entry)),
        [
            "CUDA pp512 (flash_attn=0)",
            "CUDA pp512 (flash_attn=1)",
            "CUDA pp64"
        ]
    );
}

#[test]
fn a_model_that_is_not_wholly_on_the_gpu_is_named_so() {
    let device = |keys| names(&[entry(keys)]).remove(0).replace(" pp512", "");
    for backends in ["CUDA", "Metal,BLAS", "Vulkan"] {
        let with = |layers: i64| device(json!({"backends": backends, "n_gpu_layers": layers}));
        assert_eq!(with(0), format!("{backends} ngl=0"));
        assert_eq!(with(10), format!("{backends} ngl=10"));
        assert_eq!(with(99), backends);
        assert_eq!(with(-1), backends);
    }
    let none = json!({"backends": "CUDA", "devices": "none", "n_gpu_layers": 99});
    assert_eq!(device(none), "cpu");
    let cpu = |backends: &str| device(json!({"backends": backends, "n_gpu_layers": 0}));
    assert_eq!(cpu("CPU"), "cpu");
    assert_eq!(cpu("BLAS"), "cpu (BLAS)");
    let chosen = json!({"devices": "CUDA1", "n_gpu_layers": 0});
    assert_eq!(device(chosen), "CUDA1 ngl=0");
    let old = OLD_LLAMA_BENCH.replace("\"metal\": false", "\"metal\": true");
    assert_eq!(parsed(&old).rows[0].device, "Metal,BLAS ngl=0");
}

#[test]
fn what_has_the_same_settings_is_told_by_its_origin_or_numbered() {
    let builds = [
        entry(json!({"build_number": 1})),
        entry(json!({"build_number": 2})),
    ];
    assert_eq!(
        names(&builds),
        ["CUDA pp512 (build_number=1)", "CUDA pp512 (build_number=2)"]
    );
    let again = [entry(json!({})), entry(json!({"test_time": "later"}))];
    assert_eq!(names(&again), ["CUDA pp512 (#1)", "CUDA pp512 (#2)"]);
}

#[test]
fn files_beside_each_other_are_told_apart_too() {
    let file = |keys| parsed(&json!([entry(keys)]).to_string());
    let mut files = [file(json!({"n_ubatch": 64})), file(json!({"n_ubatch": 32}))];
    assert!(files.iter().all(|file| file.rows[0].differs.is_empty()));
    tell_apart(&mut files);
    let differs = files.map(|file| file.rows[0].differs.join(", "));
    assert_eq!(differs, ["n_ubatch=64", "n_ubatch=32"]);
    // The note of each row names its file.
    let mut alike = [file(json!({})), file(json!({"build_number": 1}))];
    tell_apart(&mut alike);
    assert!(alike.iter().all(|file| file.rows[0].differs.is_empty()));
}

#[test]
fn every_table_shows_what_differs() {
    let two = [entry(json!({"n_ubatch": 128})), entry(json!({}))];
    let beside = Beside {
        others: vec![parsed(&json!(two).to_string())],
        ..Beside::default()
    };
    for (format, shown) in [
        (Format::Terminal { width: None }, "pp512 (n_ubatch=128)"),
        (Format::Markdown, "pp512 (n\\_ubatch=128)"),
        (Format::Html, "pp512 (n_ubatch=128)"),
    ] {
        let text = String::from_utf8(render(&[], &beside, format)).expect("UTF-8");
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn a_log_around_the_entries_is_passed_over() {
    let whole = parsed(LLAMA_BENCH);
    let log = "load_backend: loaded CUDA backend\n[INFO] {0}: 1 device\n";
    let between = LLAMA_BENCH.replace("  },\n", "  },\nllama-bench: benchmark 2/4: starting\n");
    for text in [
        format!("{log}{LLAMA_BENCH}"),
        format!("{LLAMA_BENCH}\nbuild: 0123abc (7654)\n"),
        format!("\u{feff}{log}{between}{log}"),
        between.replace('\n', "\r\n"),
    ] {
        assert_eq!(parsed(&text), whole);
    }
    let old = parsed(OLD_LLAMA_BENCH);
    let logged = OLD_LLAMA_BENCH.replace("}\n", "}\n7 tensors\n{\"level\": \"info\"}\n");
    assert_eq!(parsed(&logged), old);
}

#[test]
fn utf_16_is_read() {
    for whole in [LLAMA_BENCH, OLD_LLAMA_BENCH, MLX_LM] {
        for mark in ["\u{feff}", ""] {
            let text = format!("{mark}{whole}");
            for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
                let bytes: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
                assert_eq!(read("figures", &bytes), Ok(Some(parsed(whole))));
                let cut = &bytes[..bytes.len() * 2 / 3];
                let _ = read("figures", cut);
            }
        }
    }
}

#[test]
fn the_first_mlx_lm_knew_no_batches() {
    let first = MLX_LM.replace(
        "512, generation_tokens=128, batch_size=1.",
        "512 and generation_tokens=128.",
    );
    assert_ne!(first, MLX_LM);
    assert_eq!(parsed(&first), parsed(MLX_LM));
    let cut = first.replace("generation_tokens=128.", "generation_tokens=12");
    assert!(
        refused(&cut).to_string().contains("full stop"),
        "{}",
        refused(&cut)
    );
}

#[test]
fn options_of_mlx_lm_that_differ_are_said() {
    let (one, _) = MLX_LM.split_at(
        MLX_LM
            .find("$ mlx_lm.benchmark -p 64")
            .expect("the second run"),
    );
    let other = one.replace("-p 512", "-p 512 --prefill-step-size 64");
    let rows = parsed(&format!("{one}{other}")).rows;
    let names: Vec<String> = rows.iter().map(|row| row.test_and_settings()).collect();
    assert_eq!(names, ["pp512+tg128", "pp512+tg128 (prefill-step-size=64)"]);
}

#[test]
fn hostile_names_come_through_as_they_are() {
    let evil = "<b>|`x`\\n\\u001b[31m";
    let text = LLAMA_BENCH.replace("/models/gemma-3-270m-it-Q8_0.gguf", evil);
    assert_eq!(parsed(&text).rows[0].model, "<b>|`x`\n\u{1b}[31m");
    let text = MLX_LM.replace("example/gemma-3-270m-it-bf16", "evil|<b>");
    assert_eq!(parsed(&text).rows[0].model, "evil|<b>");
}

#[test]
fn numbers_beyond_all_measure_are_refused_or_kept_but_never_wrap() {
    let huge = OLD_LLAMA_BENCH.replace("\"n_gen\": 128", "\"n_gen\": 99999999999999999999");
    assert!(refused(&huge).to_string().contains("entry 2"));
    let memory = MLX_LM.replace("peak_memory=0.812", "peak_memory=99999999999999999999.000");
    assert_eq!(parsed(&memory).rows[0].peak_memory_bytes, Some(u64::MAX));
    let deep = format!("[{{\"model_filename\": {}", "[".repeat(100_000));
    assert!(refused(&deep).to_string().contains("expected"));
}
