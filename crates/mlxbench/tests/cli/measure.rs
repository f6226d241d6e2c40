//! What is measured beside timestamps, how often, and what a run survives.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Scene, TEST, mock, runs, scripted, stderr, stdout, worker};

fn samples(result: &Value) -> &[Value] {
    result["samples"].as_array().unwrap()
}

#[test]
fn lists_make_a_case_of_each_value() {
    let scene = Scene::new();
    let test = "[[test]]\nprompt_tokens = [4, 8]\ngenerate_tokens = 3\ndepth = [0, 6]\n\
                mode = [\"pipelined\", \"synchronous\"]\n";
    let target = mock("mock", &[]).replace("dtypes", "threads = [1, 2]\ndtypes");
    scene.config(&format!("[measure]\nrepetitions = 1\n{test}{target}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(samples(&result).len(), 2 * 2 * 2 * 2);
    let shown = stdout(&run);
    for case in ["pp4+tg3 ", "pp8+tg3 @ d6 ", "pp8+tg3 @ d6 sync "] {
        assert!(shown.contains(case), "{shown}");
    }
    let threads = result["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["threads"]);
    assert_eq!(threads.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn warm_up_goes_on_until_times_are_alike() {
    let scene = Scene::new();
    // Each generation takes 10 % of the first longer: 110 to 120 is 9 %, 200 to 210 is 5 %.
    let slowing = mock("slowing", &["--slowdown-percent", "10"]);
    scene.config(&format!(
        "[measure]\nrepetitions = 1\nmax_warmup = 30\n{TEST}{slowing}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let warmup = &scene.result()["warmups"][0];
    assert_eq!(warmup["steady"], true);
    assert_eq!(warmup["end_to_end_ns"].as_array().unwrap().len(), 12);

    let run = scene.mlxbench(&["run", "config.toml", "--out", "bounded"]);
    assert!(run.status.success());
    scene.config(&format!(
        "[measure]\nrepetitions = 1\nmax_warmup = 3\n{TEST}{slowing}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(
        stdout(&run).contains("wasn't steady after 3"),
        "{}",
        stdout(&run)
    );
}

#[test]
fn a_test_is_repeated_until_its_intervals_are_narrow() {
    let scene = Scene::new();
    let rule =
        "[measure]\nrepetitions = 2\nprocesses = 1\ninterval_percent = 1\nmax_repetitions = 9\n";
    scene.config(&format!("{rule}{TEST}{}", mock("mock", &[])));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    // The mock's times never differ; an interval takes five of them.
    let expected = json!({"reason": "interval", "repetitions": 5});
    let stopped = &scene.result()["stopped"][0];
    assert_eq!(stopped["reason"], expected["reason"]);
    assert_eq!(stopped["repetitions"], expected["repetitions"]);
}

#[test]
fn wide_intervals_end_at_the_most_repetitions_and_the_table_says_so() {
    let scene = Scene::new();
    let rule =
        "[measure]\nrepetitions = 2\nprocesses = 1\ninterval_percent = 1\nmax_repetitions = 6\n";
    scene.config(&format!(
        "{rule}{TEST}{}",
        mock("mock", &["--slowdown-percent", "9"])
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(scene.result()["stopped"][0]["reason"], "max_repetitions");
    assert_eq!(samples(&scene.result()).len(), 6);
    let shown = stdout(&run);
    assert!(shown.contains("wider intervals than asked for"), "{shown}");
    assert!(shown.contains("drifted"), "{shown}");
}

#[test]
fn a_worker_that_is_lost_once_is_replaced_and_the_table_says_so() {
    let scene = Scene::new();
    // The first process introduces itself, the second dies, the third is sound.
    let mortal = scripted(
        "n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count; \
         [ $n = 1 ] && exec WORKER --fault die@2; exec WORKER",
    );
    scene.config(&format!(
        "[measure]\nrepetitions = 3\nmax_warmup = 1\n{TEST}{mortal}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(samples(&result).len(), 3);
    assert_eq!(result["failures"][0]["retried"], true);
    assert!(
        stdout(&run).contains("died once: the worker died"),
        "{}",
        stdout(&run)
    );
}

#[test]
fn a_worker_that_holds_too_much_memory_is_killed() {
    let scene = Scene::new();
    let hoarder = mock(
        "hoarder",
        &["--leak-bytes", "100000000", "--fault", "hang@2"],
    );
    let limit = "[measure]\nrepetitions = 1\nmax_warmup = 1\nmax_memory_bytes = 150000000\n";
    scene.config(&format!("{limit}{TEST}{hoarder}{}", mock("mock", &[])));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let result = scene.result();
    let failures = result["failures"].as_array().unwrap();
    let kinds: Vec<&Value> = failures.iter().map(|failure| &failure["kind"]).collect();
    assert_eq!(kinds, ["out_of_memory", "out_of_memory"]);
    assert_eq!(samples(&result).len(), 1, "the other target's");
}

/// The tiny model's products with one row, and with many: all but the last.
const PARTS: [&str; 5] = ["qkv", "o", "gate_up", "down", "lm_head"];

#[test]
fn every_framework_reports_its_share_of_the_measured_limits() {
    let scene = Scene::new();
    let targets = ["candle", "tch", "mlx"].map(|backend| {
        worker(&format!("mlxbench-worker-{backend}"));
        format!(
            "[[target]]\nbackend = {backend:?}\ndevice = \"cpu\"\ndtypes = [\"f32\", \"bf16\"]\n"
        )
    });
    scene.whole_config(&format!(
        "[roofline]\nseconds = 0.001\n[equivalence]\nreference = \"none\"\n\
         [measure]\nrepetitions = 2\nchunk = 8\n{TEST}{}",
        targets.concat()
    ));
    let run = scene.mlxbench(&["run", "config.toml", "--json"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let products = report["products"].as_array().unwrap();
    assert_eq!(products.len(), 6 * (PARTS.len() + PARTS.len() - 1));
    let streams = report["streams"].as_array().unwrap();
    assert!(
        streams
            .iter()
            .all(|stream| stream["time_ns"].as_u64() > Some(0))
    );
    for row in report["summary"]["rows"].as_array().unwrap() {
        for share in ["mbu", "mfu"] {
            let share = row[share]["median"].as_f64().unwrap();
            assert!(share > 0.0 && share.is_finite(), "{row}");
        }
        assert!(row["memory_floor_bytes"].as_u64() > Some(0));
    }
}

/// The journal of a run of four repetitions whose worker hangs in the last.
fn journal_of_a_hanging_run(scene: &Scene) -> String {
    scene.config(&format!(
        "{FOUR}{TEST}{}",
        mock("mock", &["--fault", "hang@5"])
    ));
    let mut run = scene.run_until("4/4");
    run.kill().unwrap();
    run.wait().unwrap();
    std::fs::read_to_string(scene.written(".journal.jsonl")).unwrap()
}

const FOUR: &str = "[measure]\nrepetitions = 4\nprocesses = 1\nmax_warmup = 1\n";

#[test]
fn a_run_goes_on_from_wherever_its_journal_was_cut() {
    let scene = Scene::new();
    let journal = journal_of_a_hanging_run(&scene);
    scene.config(&format!("{FOUR}{TEST}{}", mock("mock", &[])));
    let is_sample = |line: &&str| line.contains("\"record\":\"sample\"");
    let ends = journal.match_indices('\n').map(|(at, _)| at + 1);
    let cuts = ends.flat_map(|end| [end - 20, end]).skip(1);
    for (number, cut) in cuts.enumerate() {
        let folder = scene.path(&format!("cut{number}/scene"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.journal.jsonl"), &journal[..cut]).unwrap();
        let out = format!("cut{number}");
        let run = scene.mlxbench(&["run", "config.toml", "--resume", "--out", &out]);
        assert_eq!(run.status.code(), Some(0), "cut at {cut}: {}", stderr(&run));
        let text = std::fs::read(folder.join("a.json")).unwrap();
        let result: Value = serde_json::from_slice(&text).unwrap();
        let kept: Vec<Value> = journal[..cut]
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter(is_sample)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(samples(&result).len(), 4);
        for (sample, kept) in samples(&result).iter().zip(&kept) {
            assert_eq!(
                sample["started"], kept["started"],
                "measured again, cut at {cut}"
            );
        }
        assert!(!folder.join("a.journal.jsonl").exists());
    }
}

#[test]
fn a_result_that_was_written_before_its_journal_went_is_written_again() {
    let scene = Scene::new();
    let journal = journal_of_a_hanging_run(&scene);
    scene.config(&format!("{FOUR}{TEST}{}", mock("mock", &[])));
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let result = scene.written("Z.json");
    // A kill between the two: the result is there, the journal too.
    let path = result.to_str().unwrap().replace(".json", ".journal.jsonl");
    std::fs::write(&path, journal).unwrap();
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert!(run.status.success(), "{}", stderr(&run));
    assert_eq!(samples(&scene.result()).len(), 4);
    assert!(!Path::new(&path).exists());
}

/// A line of a journal.
fn record(name: &str, value: &Value) -> String {
    let mut record = value.clone();
    record["record"] = name.into();
    format!("{record}\n")
}

/// The journal of a run that was killed after these samples.
fn journal(result: &Value, samples: &[Value]) -> String {
    let samples = samples.iter().map(|sample| record("sample", sample));
    record("run", &result["run"]) + &samples.collect::<String>()
}

#[test]
fn a_resumed_run_stops_where_it_would_have_stopped() {
    let scene = Scene::new();
    let rule = "[measure]\nrepetitions = 5\nprocesses = 1\nmax_warmup = 1\nmax_seconds = 3\n";
    scene.config(&format!("{rule}{TEST}{}", mock("mock", &[])));
    assert!(scene.mlxbench(&["run", "config.toml"]).status.success());
    // Four repetitions of a second: a kill came before it was noted that the time is over.
    let mut measured = samples(&scene.result())[..4].to_vec();
    for sample in &mut measured {
        sample["wall_ns"] = 1_000_000_000.into();
    }
    let text = journal(&scene.result(), &measured);
    let path = scene.written("Z.json");
    let path = path.to_str().unwrap().replace(".json", ".journal.jsonl");
    std::fs::write(path, text).unwrap();
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let stopped = &scene.result()["stopped"][0];
    assert_eq!(stopped["reason"], "max_seconds");
    assert_eq!(stopped["repetitions"], 4);
}

#[test]
fn what_a_filter_left_out_is_measured_by_a_resumed_run() {
    let scene = Scene::new();
    let both = [mock("one", &[]), mock("two", &[])].concat();
    scene.config(&format!("{FOUR}{TEST}{both}"));
    let run = scene.mlxbench(&["run", "config.toml", "--filter", "one/"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let finished = scene.written("Z.json");
    let result = scene.result();
    // As a kill right after the last test of the filtered run leaves it.
    let text = journal(&result, samples(&result)) + &record("stopped", &result["stopped"][0]);
    let path = finished
        .to_str()
        .unwrap()
        .replace(".json", ".journal.jsonl");
    std::fs::write(path, text).unwrap();
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert_eq!(samples(&scene.result()).len(), 8);
    assert_eq!(scene.result()["stopped"].as_array().unwrap().len(), 1);
}

#[test]
fn a_kill_at_any_generation_loses_no_case_and_leaves_no_worker() {
    for generation in 1..=5 {
        let scene = Scene::new();
        let hanging = scripted(&format!(
            "echo $$ >> pids; exec WORKER --fault hang@{generation}"
        ));
        scene.config(&format!("{FOUR}{TEST}{hanging}"));
        let last = match generation {
            1 => "warm-up".to_owned(),
            _ => format!("{}/4", generation - 1),
        };
        let mut run = scene.run_until(&last);
        run.kill().unwrap();
        run.wait().unwrap();
        let pids = std::fs::read_to_string(scene.path("pids")).unwrap();
        let deadline = Instant::now() + std::time::Duration::from_secs(60);
        while pids.lines().any(runs) {
            assert!(Instant::now() < deadline, "a worker outlives its runner");
        }
        scene.config(&format!("{FOUR}{TEST}{}", mock("mock", &[])));
        let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
        assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
        let result = scene.result();
        let repetitions: Vec<_> = samples(&result).iter().map(|s| &s["repetition"]).collect();
        assert_eq!(repetitions, [0, 1, 2, 3]);
    }
}

#[test]
fn times_agree_with_an_observer_outside_to_half_a_per_cent() {
    let scene = Scene::new();
    let mut worker = Command::new(worker("mlxbench-worker-mock"))
        .args([
            "--real-time",
            "--prefill-ns-per-token",
            "1000000",
            "--step-ns",
            "20000000",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = worker.stdin.take().unwrap();
    let mut replies = BufReader::new(worker.stdout.take().unwrap());
    let mut ask = |request: Value| -> (f64, Value) {
        let mut line = String::new();
        let start = Instant::now();
        writeln!(requests, "{request}").unwrap();
        replies.read_line(&mut line).unwrap();
        (
            start.elapsed().as_nanos() as f64,
            serde_json::from_str(&line).unwrap(),
        )
    };
    ask(json!({"type": "hello", "protocol": 3}));
    let placement = json!({"device": "cpu", "precision": "f32"});
    let model = scene.path("model");
    ask(json!({"type": "load", "model": model, "placement": placement}));
    // Scripted: 20 ms of prefill and 19 steps of 20 ms. The machine may have other work when the
    // observer's turn comes, so that a few tries may be needed.
    let scripted = 400e6;
    let mut closest = f64::INFINITY;
    for _ in 0..20 {
        let (seen, reply) = ask(json!({"type": "generate", "prompt": [vec![7; 20]],
            "new_tokens": 20, "chunk": 512, "mode": "pipelined"}));
        let told = reply["token_ns"][19].as_f64().unwrap();
        assert!(told >= scripted && told <= seen, "{scripted} {told} {seen}");
        closest = closest.min((seen - told) / seen);
        if closest < 0.005 {
            break;
        }
    }
    assert!(closest < 0.005, "off by {:.2} %", closest * 100.0);
    drop(requests);
    worker.wait().unwrap();
}
