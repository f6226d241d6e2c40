//! Two results side by side, two workers in one run, and what a gate tells CI.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Scene, TEST, mock, stderr, stdout, worker};

/// Ten repetitions of a mock on a virtual clock: its times are exact.
pub(crate) fn config(scene: &Scene, step_ns: &str) {
    let target = mock("mock", &["--step-ns", step_ns]);
    scene.config(&format!(
        "[measure]\nrepetitions = 10\nprocesses = 10\n{TEST}{target}"
    ));
}

/// Runs the config with a mock of this step into `out`.
pub(crate) fn run(scene: &Scene, step_ns: &str, out: &str) -> String {
    config(scene, step_ns);
    let run = scene.mlxbench(&["run", "config.toml", "--out", out]);
    assert!(run.status.success(), "{}", stderr(&run));
    format!("{out}/scene")
}

/// The only file of a run.
pub(crate) fn result_file(scene: &Scene, folder: &str) -> PathBuf {
    let mut files = fs::read_dir(scene.path(folder)).unwrap();
    files.next().unwrap().unwrap().path()
}

/// The command of a mock for `--ab`.
fn side(arguments: &str) -> String {
    let program = worker("mlxbench-worker-mock");
    format!("'{}' {arguments}", program.display())
}

fn verdict<'a>(comparison: &'a Value, metric: &str) -> &'a Value {
    let rows = comparison["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["metric"] == metric).unwrap();
    &row["verdict"]
}

#[test]
fn a_slower_result_ends_with_1_and_a_faster_one_with_0() {
    let scene = Scene::new();
    let (old, new) = (
        run(&scene, "10000000", "old"),
        run(&scene, "11500000", "new"),
    );
    let slower = scene.mlxbench(&["compare", &old, &new, "--metric", "decode"]);
    assert_eq!(slower.status.code(), Some(1), "{}", stderr(&slower));
    let shown = stdout(&slower);
    assert!(
        shown.contains("-13.0 % (-13.0 to -13.0)  slower"),
        "{shown}"
    );
    assert!(shown.ends_with("fail: of 1 row, 1 worse\n"), "{shown}");
    let faster = ["compare", &new, &old, "--format", "json", "--annotations"];
    let faster = scene.mlxbench(&faster);
    assert_eq!(faster.status.code(), Some(0));
    let comparison: Value = serde_json::from_slice(&faster.stdout).unwrap();
    assert_eq!(verdict(&comparison, "decode"), "better");
    assert_eq!(verdict(&comparison, "prefill"), "same");
    assert_eq!(comparison["gate"], "pass");
}

#[test]
fn what_cannot_be_told_ends_with_1_only_under_strict() {
    let scene = Scene::new();
    let (old, new) = (
        run(&scene, "10000000", "old"),
        run(&scene, "10000000", "new"),
    );
    // Another model: no figure of the one says anything of the other.
    let file = result_file(&scene, &old);
    let text = fs::read_to_string(&file).unwrap();
    let mut result: Value = serde_json::from_str(&text).unwrap();
    result["run"]["model"]["parameters"] = json!(1);
    fs::write(&file, result.to_string()).unwrap();
    let lenient = scene.mlxbench(&["compare", &old, &new]);
    assert_eq!(lenient.status.code(), Some(0));
    let shown = stdout(&lenient);
    assert!(
        shown.contains("not comparable: parameters of the model was 1"),
        "{shown}"
    );
    let strict = scene.mlxbench(&["compare", &old, &new, "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn a_result_is_never_written_over() {
    let scene = Scene::new();
    let old = run(&scene, "10000000", "old");
    let file = result_file(&scene, &old);
    let (before, file) = (fs::read(&file).unwrap(), file.to_str().unwrap().to_owned());
    let twice = ["--summary", "x", "--junit", "x"];
    let refused: [&[&str]; 4] = [
        &["compare", &file, &file, "-o", &file],
        &["compare", &old, &old, "--junit", &file],
        &[
            "run",
            "config.toml",
            "--baseline",
            &file,
            "--summary",
            &file,
        ],
        &[&["compare", &file, &file][..], &twice].concat(),
    ];
    for arguments in refused {
        let run = scene.mlxbench(arguments);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let scene = Scene::new();
    let (old, new) = (
        run(&scene, "10000000", "old"),
        run(&scene, "11500000", "new"),
    );
    let mut command = scene.command(&["compare", &old, &new, "--junit", "junit.xml"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(scene.path("junit.xml").exists());
}

#[test]
fn two_workers_are_compared_in_one_run() {
    let scene = Scene::new();
    // The targets of other backends don't run: this one couldn't.
    let other = "[[target]]\nbackend = \"absent\"\ndtypes = [\"f32\"]\n";
    let target = mock("mock", &[]);
    scene.config(&format!(
        "[measure]\nrepetitions = 2\n{TEST}{target}{other}"
    ));
    let (a, b) = (side("--step-ns 10000000"), side("--step-ns 11000000"));
    let ab = |a: &str, b: &str, out: &str| {
        let told = [
            "--summary",
            "summary.md",
            "--junit",
            "junit.xml",
            "--annotations",
        ];
        let mut command = scene.command(&["run", "config.toml", "--out", out, "--ab", a, b]);
        command.args(told).output().unwrap()
    };
    let slower = ab(&a, &b, "slower");
    assert_eq!(slower.status.code(), Some(1), "{}", stderr(&slower));
    // It ended when it knew.
    let told = stderr(&slower);
    assert!(told.contains("rows are decided"), "{told}");
    assert!(
        stdout(&slower).contains(" rounds: every row is decided"),
        "{}",
        stdout(&slower)
    );
    let file = fs::read_to_string(result_file(&scene, "slower/scene")).unwrap();
    let result: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(result["stopped"][0]["reason"], "decided");
    let rounds = result["stopped"][0]["repetitions"].as_u64().unwrap() as usize;
    assert!((10..40).contains(&rounds), "{rounds}");
    let measured = format!("{rounds} rounds of both workers");
    assert!(stdout(&slower).contains(&measured), "{}", stdout(&slower));
    assert_eq!(result["run"]["sides"]["sequence"]["level"], 0.05);
    // Each turn has a process of its own.
    assert_eq!(told.matches(": loading").count(), 2 * rounds);
    let no_baseline = scene.mlxbench(&["baseline", "save", "main", "slower/scene"]);
    assert_eq!(no_baseline.status.code(), Some(2));
    let shown = stdout(&slower);
    assert!(
        shown.contains("::error title=mock/cpu/f32 pp8+tg5 decode::-9.1 %25"),
        "{shown}"
    );
    let summary = fs::read_to_string(scene.path("summary.md")).unwrap();
    assert!(summary.contains("| **slower** |"), "{summary}");
    let junit = fs::read_to_string(scene.path("junit.xml")).unwrap();
    assert!(junit.contains("failures=\"1\""), "{junit}");
    // The file tells the same again.
    let again = scene.mlxbench(&["compare", "slower/scene"]);
    assert_eq!(again.status.code(), Some(1));
    // A filter names a case of both.
    let told = |filter: &str| {
        let arguments = ["run", "config.toml", "--ab", &a, &a, "--filter", filter];
        stderr(&scene.mlxbench(&[arguments.as_slice(), &["--out", "filtered"]].concat()))
    };
    let filtered = told("mock/cpu/f32 pp8");
    assert!(
        filtered.contains("f32@a pp8") && filtered.contains("f32@b pp8"),
        "{filtered}"
    );
    assert!(told("nothing").contains("named like `mock/cpu/f32 pp8+tg5`"));
    // An environment's switch makes the same command slower.
    let switched = ab(
        &a,
        &format!("env MLXBENCH_MOCK_SLOWER_PERCENT=10 {a}"),
        "switched",
    );
    assert_eq!(switched.status.code(), Some(1), "{}", stdout(&switched));
    let same = ab(&a, &a, "same");
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    let summary = fs::read_to_string(scene.path("summary.md")).unwrap();
    assert_eq!(
        summary.matches("### mlxbench").count(),
        3,
        "a summary is added to"
    );
}

#[test]
fn the_file_of_two_sides_is_judged_as_their_run_judged_them() {
    let scene = Scene::new();
    config(&scene, "10000000");
    // Slower by just what is a change unless somebody says otherwise: no round tells on which side of it.
    let (a, b) = (side("--step-ns 10000000"), side("--step-ns 10526316"));
    let run = ["run", "config.toml", "--ab", &a, &b, "--metric", "decode"];
    let run = scene.mlxbench(&[run.as_slice(), &["--threshold", "20%"]].concat());
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let again = scene.mlxbench(&["compare", "results/scene"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let shown = stdout(&again);
    assert!(shown.contains("within +-20 % (5 % for memory)"), "{shown}");
    assert!(shown.contains(" rounds: every row is decided"), "{shown}");
    assert!(shown.ends_with("pass: of 1 row, 1 the same\n"), "{shown}");
    // What the command line says goes before that.
    let stricter = scene.mlxbench(&["compare", "results/scene", "--threshold", "5%"]);
    let shown = stdout(&stricter);
    assert!(shown.contains("open rows here: 1 of 1"), "{shown}");
    assert!(!shown.contains("every row is decided"), "{shown}");
    let other = scene.mlxbench(&["compare", "results/scene", "--metric", "prefill"]);
    let shown = stdout(&other);
    assert!(
        shown.contains(" prefill ") && !shown.contains(" decode "),
        "{shown}"
    );
}

#[test]
fn two_sides_that_cannot_be_decided_end_with_their_minutes() {
    let scene = Scene::new();
    config(&scene, "10000000");
    let a = side("--step-ns 10000000");
    // Just the threshold slower: no round tells on which side of it.
    let b = side("--step-ns 10526316");
    let run = [
        "run",
        "config.toml",
        "--ab",
        &a,
        &b,
        "--metric",
        "decode",
        "--max-minutes",
        "0.001",
    ];
    let run = scene.mlxbench(&run);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let shown = stdout(&run);
    assert!(shown.contains("--max-minutes was reached"), "{shown}");
    let alone = scene.mlxbench(&["run", "config.toml", "--max-minutes", "5"]);
    assert_eq!(alone.status.code(), Some(2), "without --ab it says nothing");
}

#[test]
fn a_side_whose_worker_is_lost_for_good_ends_the_search() {
    let scene = Scene::new();
    config(&scene, "10000000");
    let program = worker("mlxbench-worker-mock").display().to_string();
    // Noisy enough for many rounds; of side b every process from the 24th on dies.
    let noisy = format!(
        "n=$(cat SIDE 2>/dev/null || echo 0); echo $((n + 1)) > SIDE; \
         [ $n -ge LAST ] && exec {program} --fault die@1; exec {program} --step-ns $((10000000 + n * LAST % 7 * 4000000))"
    );
    for (side, last) in [("a", "1002"), ("b", "24")] {
        let script = noisy.replace("SIDE", side).replace("LAST", last);
        fs::write(
            scene.path(&format!("{side}.sh")),
            format!("#!/bin/sh\n{script}\n"),
        )
        .unwrap();
    }
    let run = [
        "run",
        "config.toml",
        "--ab",
        "sh a.sh",
        "sh b.sh",
        "--metric",
        "decode",
        "--max-minutes",
        "1",
    ];
    let run = scene.mlxbench(&run);
    let result = scene.result();
    let rounds = result["stopped"][0]["repetitions"].as_u64().unwrap();
    assert!((20..40).contains(&rounds), "{rounds}: {}", stderr(&run));
    // What worked and now fails got worse.
    assert_eq!(run.status.code(), Some(1), "{}", stdout(&run));
    assert!(
        stdout(&run).contains("mock: dying as scripted"),
        "{}",
        stdout(&run)
    );
}

#[test]
fn a_finished_result_is_added_to() {
    let scene = Scene::new();
    let target = mock("mock", &["--step-ns", "10000000"]);
    scene.config(&format!("[measure]\nrepetitions = 2\n{TEST}{target}"));
    let first = scene.mlxbench(&["run", "config.toml"]);
    assert!(first.status.success(), "{}", stderr(&first));
    let apart = scene.mlxbench(&["compare", "results/scene", "results/scene"]);
    let shown = stdout(&apart);
    assert!(
        shown.starts_with("these results can't be told apart: they have"),
        "{shown}"
    );
    let done = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(
        stderr(&done).contains("--repetitions asks for more"),
        "{}",
        stderr(&done)
    );
    let before = result_file(&scene, "results/scene");
    let more = scene.mlxbench(&["run", "config.toml", "--resume", "--repetitions", "10"]);
    assert!(more.status.success(), "{}", stderr(&more));
    assert_eq!(
        result_file(&scene, "results/scene"),
        before,
        "the same file"
    );
    let result: Value = serde_json::from_str(&fs::read_to_string(&before).unwrap()).unwrap();
    let of = |sample: &Value| sample["repetition"].as_u64().unwrap();
    let repetitions: Vec<u64> = result["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(of)
        .collect();
    assert_eq!(repetitions, (0..10).collect::<Vec<u64>>());
    let same = scene.mlxbench(&["compare", "results/scene", "results/scene", "--strict"]);
    assert_eq!(same.status.code(), Some(0), "{}", stdout(&same));
    assert!(!stdout(&same).contains("inconclusive"), "{}", stdout(&same));
}

#[test]
fn results_that_share_nothing_are_not_compared() {
    let scene = Scene::new();
    let base = run(&scene, "10000000", "base");
    scene.config(&format!(
        "[measure]\nrepetitions = 2\n{TEST}{}",
        mock("other", &[])
    ));
    let other = scene.mlxbench(&["run", "config.toml", "--out", "other"]);
    assert_eq!(other.status.code(), Some(0), "{}", stderr(&other));
    let compared = scene.mlxbench(&["compare", &base, "other/scene"]);
    assert_eq!(compared.status.code(), Some(2), "{}", stdout(&compared));
    let said = stderr(&compared);
    assert!(said.contains("shares no target and test"), "{said}");
}

#[test]
fn workers_that_cannot_be_compared_are_refused_before_anything_runs() {
    let scene = Scene::new();
    config(&scene, "10000000");
    let mock = side("");
    let refused = |a: &str, b: &str| {
        let run = scene.mlxbench(&["run", "config.toml", "--ab", a, b]);
        assert_eq!(run.status.code(), Some(2), "{a} and {b}");
        assert!(!scene.path("results").exists());
        stderr(&run)
    };
    assert!(refused(&mock, "no-such-worker").contains("`no-such-worker`"));
    assert!(refused("'open", &mock).contains("a quote that doesn't end"));
    let candle = worker("mlxbench-worker-candle");
    let candle = format!("'{}'", candle.display());
    assert!(refused(&mock, &candle).contains("one is a worker of mock, the other one of candle"));
    let message = refused(&candle, &candle);
    assert!(message.contains("both are workers of candle, the config's targets are of mock"));
    let nowhere = [
        "run",
        "config.toml",
        "--ab",
        &mock,
        &mock,
        "--junit",
        "no/such/folder.xml",
    ];
    let unwritable = scene.mlxbench(&nowhere);
    assert_eq!(unwritable.status.code(), Some(2));
    assert!(
        stderr(&unwritable).contains("no/such/folder.xml"),
        "{}",
        stderr(&unwritable)
    );
    assert!(!scene.path("results").exists(), "it was measured first");
    let nobody = ["run", "config.toml", "--ab", &mock, "no-such-worker"];
    scene.mlxbench(&[nobody.as_slice(), &["--junit", "junit.xml"]].concat());
    assert!(
        !scene.path("junit.xml").exists(),
        "an empty file is no JUnit"
    );
    let alone = scene.mlxbench(&["run", "config.toml", "--strict"]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(stderr(&alone).contains("--baseline"), "{}", stderr(&alone));
    let one_sided = scene.mlxbench(&["compare", "config.toml"]);
    assert_eq!(one_sided.status.code(), Some(2));
    let conflicting = ["run", "config.toml", "--baseline", "x", "--ab", "a", "b"];
    assert_eq!(scene.mlxbench(&conflicting).status.code(), Some(2));
}

#[test]
fn github_action_benchmark_reads_rates_and_times() {
    let scene = Scene::new();
    let out = run(&scene, "10000000", "old");
    let file = result_file(&scene, &out);
    let entries = |format: &str| -> Value {
        let report = scene.mlxbench(&["report", file.to_str().unwrap(), "--format", format]);
        serde_json::from_slice(&report.stdout).unwrap()
    };
    let bigger = entries("bigger-is-better");
    let decode = &bigger[1];
    assert_eq!(decode["name"], "model: mock/cpu/f32 pp8+tg5 decode");
    assert_eq!(
        (&decode["unit"], &decode["value"]),
        (&json!("tokens/s"), &json!(100.0))
    );
    let smaller = entries("smaller-is-better");
    assert_eq!(
        (&smaller[0]["unit"], &smaller[0]["value"]),
        (&json!("ms"), &json!(8.0))
    );
}

#[test]
fn a_metric_that_no_test_has_is_refused_before_it_is_measured_and_named_after() {
    let scene = Scene::new();
    let (old, new) = (
        run(&scene, "10000000", "old"),
        run(&scene, "10000000", "new"),
    );
    let compared = scene.mlxbench(&["compare", &old, &new, "--metric", "latency-p99", "--strict"]);
    assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
    let shown = stdout(&compared);
    let why = "no test has the 368 decode steps a repetition that latency-p99 takes";
    assert!(
        shown.ends_with(&format!("inconclusive: {why}\n")),
        "{shown}"
    );
    let both = ["compare", &old, &new, "--metric", "decode,latency-p99"];
    let shown = stdout(&scene.mlxbench(&both));
    assert!(shown.contains(&format!("note: {why}")), "{shown}");
    assert!(
        shown.contains("inconclusive: of 1 row, 1 the same"),
        "{shown}"
    );
    let mock = worker("mlxbench-worker-mock").display().to_string();
    for (metric, why) in [("latency-p99", why), ("goodput", "no test has goodput")] {
        let run = [
            "run",
            "config.toml",
            "--ab",
            &mock,
            &mock,
            "--metric",
            metric,
        ];
        let run = scene.mlxbench(&run);
        assert_eq!(run.status.code(), Some(2), "{}", stdout(&run));
        assert!(stderr(&run).contains(why), "{}", stderr(&run));
    }
    assert!(!scene.path("results").exists(), "something was measured");
}
