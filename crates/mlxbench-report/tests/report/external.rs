//! Files of other programs, whole, cut short and garbled. Their numbers are invented.

use std::fmt::Write as _;

use mlxbench_analysis::Estimate;
use mlxbench_core::generate::Mode;
use mlxbench_report::external::{External, ExternalError, read};

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
            row.test,
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
    let modes = |external: External| external.rows.into_iter().map(|row| row.test.mode);
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
        format!("{LLAMA_BENCH}7"),
        format!("{LLAMA_BENCH}build: 0123abc (7654)"),
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
