//! The worker processes of a target: how repetitions are spread over them, and what is said of that.

use serde_json::Value;

use crate::support::{Scene, TEST, mock, scripted, stderr, stdout};

/// Two targets in the default number of repetitions and processes, after one warm-up.
fn two_targets(measure: &str) -> Value {
    let scene = Scene::new();
    let targets = [mock("one", &[]), mock("two", &[])].concat();
    scene.config(&format!(
        "[measure]\nmax_warmup = 1\n{measure}{TEST}{targets}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    scene.result()
}

fn list<'a>(result: &'a Value, name: &str) -> &'a [Value] {
    result[name].as_array().unwrap()
}

/// Repetition and process of each sample of a backend, in the order of their time.
fn processes(result: &Value, backend: &str) -> Vec<(u64, u64)> {
    let own = list(result, "samples").iter();
    let own = own.filter(|sample| sample["target"]["backend"] == backend);
    let number = |value: &Value| value.as_u64().unwrap();
    own.map(|sample| (number(&sample["repetition"]), number(&sample["process"])))
        .collect()
}

/// The backends of the samples, in the order of their time.
fn turns(result: &Value) -> Vec<&str> {
    let samples = list(result, "samples").iter();
    samples
        .map(|sample| sample["target"]["backend"].as_str().unwrap())
        .collect()
}

const SPREAD: [(u64, u64); 6] = [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)];

#[test]
fn repetitions_are_spread_over_three_processes_a_target() {
    let result = two_targets("residency = \"together\"\n");
    for backend in ["one", "two"] {
        assert_eq!(processes(&result, backend), SPREAD);
    }
    // Both have their turn in each round.
    for round in turns(&result).chunks(2) {
        assert!(
            round == ["one", "two"] || round == ["two", "one"],
            "{round:?}"
        );
    }
    for target in list(&result, "targets") {
        assert_eq!(list(target, "load_ns").len(), 3);
    }
    let warm: Vec<u64> = list(&result, "warmups")
        .iter()
        .map(|warmup| warmup["process"].as_u64().unwrap())
        .collect();
    assert_eq!(warm, [0, 0, 1, 1, 2, 2], "each process is warmed up");
}

#[test]
fn a_worker_that_is_loaded_alone_takes_its_repetitions_before_the_next() {
    let result = two_targets("residency = \"one_at_a_time\"\n");
    for backend in ["one", "two"] {
        assert_eq!(processes(&result, backend), SPREAD);
    }
    for process in turns(&result).chunks(4) {
        let ways = [["one", "one", "two", "two"], ["two", "two", "one", "one"]];
        assert!(ways.iter().any(|way| process == way), "{process:?}");
    }
    for target in list(&result, "targets") {
        assert_eq!(list(target, "load_ns").len(), 3);
    }
}

#[test]
fn tests_share_the_processes() {
    let scene = Scene::new();
    let test = TEST.replace("prompt_tokens = 8", "prompt_tokens = [8, 16]");
    let mock = mock("mock", &[]);
    scene.config(&format!("[measure]\nmax_warmup = 1\n{test}{mock}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(list(&result["targets"][0], "load_ns").len(), 3);
    let mut expected: Vec<_> = SPREAD.into_iter().chain(SPREAD).collect();
    expected.sort_by_key(|&(repetition, process)| (process, repetition));
    let mut seen = processes(&result, "mock");
    seen.sort_by_key(|&(repetition, process)| (process, repetition));
    assert_eq!(seen, expected);
}

#[test]
fn a_resumed_process_is_another_one() {
    let scene = Scene::new();
    let measure = "[measure]\nmax_warmup = 1\n";
    // The first process introduces itself, the second ends well, the third hangs in repetition 4.
    let hanging = scripted(
        "n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count; \
         [ $n = 2 ] && exec WORKER --fault hang@3; exec WORKER",
    );
    scene.config(&format!("{measure}{TEST}{hanging}"));
    let mut run = scene.run_until("4/6");
    run.kill().unwrap();
    run.wait().unwrap();
    scene.config(&format!("{measure}{TEST}{}", mock("mock", &[])));
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let expected = [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 3)];
    assert_eq!(processes(&scene.result(), "mock"), expected);
}

#[test]
fn repetitions_beyond_the_least_come_in_further_processes() {
    let scene = Scene::new();
    let rule = "[measure]\nrepetitions = 4\nprocesses = 2\nmax_warmup = 1\n\
                interval_percent = 1\nmax_repetitions = 7\n";
    // Each process is slower than the last: no interval is narrow.
    let slowing = scripted(
        "n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count; \
         MLXBENCH_MOCK_SLOWER_PERCENT=$((5 * n)) exec WORKER",
    );
    scene.config(&format!("{rule}{TEST}{slowing}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(result["stopped"][0]["reason"], "max_repetitions");
    let mut expected = SPREAD.to_vec();
    expected.push((6, 3));
    assert_eq!(processes(&result, "mock"), expected);
}

#[test]
fn what_is_added_to_a_result_comes_in_processes_of_as_many_repetitions() {
    let scene = Scene::new();
    let rule = "[measure]\nrepetitions = 4\nprocesses = 2\nmax_warmup = 1\n";
    scene.config(&format!("{rule}{TEST}{}", mock("mock", &[])));
    let measured = |arguments: &[&str]| {
        let run = scene.mlxbench(&[&["run", "config.toml"], arguments].concat());
        assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    };
    measured(&[]);
    measured(&["--resume", "--repetitions", "8"]);
    let mut expected = SPREAD.to_vec();
    expected.extend([(6, 3), (7, 3)]);
    assert_eq!(processes(&scene.result(), "mock"), expected);
    // So do those of a run that asks for more from its beginning.
    measured(&["--repetitions", "8", "--out", "anew"]);
    assert_eq!(processes(&scene.only("anew/scene"), "mock"), expected);
}

#[test]
fn a_run_against_a_baseline_has_a_process_for_each_repetition() {
    let scene = Scene::new();
    let config = format!("[measure]\nmax_warmup = 1\n{TEST}{}", mock("mock", &[]));
    scene.config(&config);
    let base = scene.mlxbench(&["run", "config.toml", "--out", "base"]);
    assert_eq!(base.status.code(), Some(0), "{}", stderr(&base));
    for (arguments, count) in [(&[][..], 10), (&["--repetitions", "7"], 7)] {
        let run = [
            "run",
            "config.toml",
            "--baseline",
            "base/scene",
            "--out",
            "new",
        ];
        let run = scene.mlxbench(&[&run[..], arguments].concat());
        assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
        let file = std::fs::read_dir(scene.path("new/scene")).unwrap().next();
        let file = file.unwrap().unwrap().path();
        let result = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::remove_file(file).unwrap();
        let each: Vec<(u64, u64)> = (0..count).map(|at| (at, at)).collect();
        assert_eq!(processes(&result, "mock"), each);
    }
}

#[test]
fn the_report_says_where_luck_is_not_covered() {
    let shown = |measure: &str| {
        let scene = Scene::new();
        scene.config(&format!("[measure]\n{measure}{TEST}{}", mock("mock", &[])));
        stdout(&scene.mlxbench(&["run", "config.toml"]))
    };
    let (three, one) = (shown(""), shown("processes = 1\n"));
    assert!(three.contains("6 repetitions in 3 processes"), "{three}");
    assert!(!three.contains("luck"), "{three}");
    assert!(one.contains("6 repetitions in 1 process"), "{one}");
    let luck = "one process a target: no interval (±) covers a process' luck";
    assert!(one.contains(luck), "{one}");
}
