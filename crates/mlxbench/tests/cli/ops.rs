//! `mlxbench ops`: one cell of each kind, on the mock; what workers say that know nothing of it; machines side by
//! side.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::Value;

use crate::support::{Scene, stderr, stdout, worker};

/// An empty folder: no model is needed.
fn scene() -> Scene {
    worker("mlxbench-worker-mock");
    Scene::new()
}

/// `mlxbench ops --backend mock` with scripted faults.
fn tried(scene: &Scene, faults: &str, arguments: &[&str]) -> Output {
    let mut command = scene.command(&["ops", "--backend", "mock"]);
    command.args(arguments);
    if !faults.is_empty() {
        command.env("MLXBENCH_MOCK_TRIAL_FAULTS", faults);
    }
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// The cell of an operation in a dtype.
fn cell<'a>(matrix: &'a Value, op: &str, dtype: &str) -> &'a Value {
    let cells = matrix["backends"][0]["devices"][0]["cells"]
        .as_array()
        .unwrap();
    let mut cells = cells.iter();
    &cells
        .find(|cell| cell["op"] == op && cell["dtype"] == dtype)
        .unwrap()["outcome"]
}

#[test]
fn all_that_works_is_ok_and_exits_with_0() {
    let scene = scene();
    let output = tried(&scene, "", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let rows = text.lines().filter(|line| line.contains(" ok"));
    assert!(rows.count() >= 29, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(!text.contains("wrong"), "{text}");
}

#[test]
fn each_kind_of_cell_is_seen_and_costs_no_other() {
    let scene = scene();
    let faults = "wrong@gelu/bf16,missing@cumsum/i64,die@sort,hang@top-k/f16";
    let some = ["--format", "json", "--timeout", "5", "--op"];
    let mut outcomes = Vec::new();
    for (op, dtype) in [
        ("gelu-tanh", "bf16"),
        ("cumsum", "i64"),
        ("sort", "f32"),
        ("top-k", "f16"),
    ] {
        let output = tried(&scene, faults, &[&some[..], &[op]].concat());
        let matrix = json(&output);
        let found = cell(&matrix, op, dtype).clone();
        let is_bad = found["status"] != "missing";
        assert_eq!(
            output.status.code(),
            Some(if is_bad { 3 } else { 0 }),
            "{op}"
        );
        let cells = matrix["backends"][0]["devices"][0]["cells"]
            .as_array()
            .unwrap();
        let others = cells.iter().filter(|cell| cell["dtype"] != dtype);
        for other in others {
            let expected = if op == "sort" { "crashes" } else { "ok" };
            assert_eq!(other["outcome"]["status"], expected, "{op} {other}");
        }
        outcomes.push(found);
    }
    let [wrong, missing, died, hung] = <[Value; 4]>::try_from(outcomes).unwrap();
    assert_eq!(wrong["status"], "wrong");
    let furthest = &wrong["furthest"];
    assert_eq!(furthest["at"], serde_json::json!([0]));
    let off = furthest["got"].as_f64().unwrap() - furthest["expected"].as_f64().unwrap();
    assert!(
        off > 0.9 && furthest["limit"].as_f64().unwrap() < 0.2,
        "{furthest}"
    );
    assert!(
        wrong["message"]
            .as_str()
            .unwrap()
            .contains("with a limit of")
    );
    assert_eq!(missing["status"], "missing");
    assert_eq!(
        missing["message"],
        "mock: no kernel for cumsum in i64, as scripted"
    );
    assert_eq!(died["status"], "crashes");
    let message = died["message"].as_str().unwrap();
    assert!(
        message.contains("signal 6") && message.contains("dying as scripted"),
        "{message}"
    );
    assert_eq!(hung["status"], "crashes");
    let message = hung["message"].as_str().unwrap();
    assert!(message.contains("no answer within 5 s"), "{message}");
}

#[test]
fn the_table_says_what_is_not_ok() {
    let scene = scene();
    let faults = "wrong@gelu/bf16,missing@cumsum/i64,die@sort/f32,die@sort/f16";
    let output = tried(&scene, faults, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stdout(&output);
    let row = |name: &str| -> Vec<String> {
        let mut lines = text.lines().map(|line| line.split_whitespace());
        let words = lines
            .find(|words| words.clone().next() == Some(name))
            .unwrap();
        words.skip(1).map(str::to_owned).collect()
    };
    assert_eq!(row("cumsum"), ["missing", "ok", "ok", "ok"]);
    assert_eq!(row("sort"), ["ok", "crashes", "ok", "crashes"]);
    assert_eq!(row("gelu-tanh"), ["-", "ok", "wrong", "ok"]);
    for detail in [
        "mock/cpu wrong: gelu-tanh (bf16)",
        "mock/cpu missing: cumsum (i64)",
        "mock/cpu crashes: sort (f32, f16)",
    ] {
        assert!(text.contains(detail), "{detail}:\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

#[test]
fn machines_stand_side_by_side_with_what_differs_marked() {
    let scene = scene();
    for (file, faults) in [
        ("a.json", "missing@cumsum/i64,wrong@min/f32"),
        ("b.json", "wrong@min/f32"),
    ] {
        let output = tried(&scene, faults, &["-o", file, "--op", "m"]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    }
    let output = scene.mlxbench(&["ops", "a.json", "b.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("A mock/cpu") && text.contains("B mock/cpu"),
        "{text}"
    );
    let cumsum = text
        .lines()
        .find(|line| line.starts_with("cumsum"))
        .unwrap();
    let words: Vec<&str> = cumsum.split_whitespace().skip(1).collect();
    assert_eq!(
        words,
        ["missing*", "ok", "ok", "ok", "ok*", "ok", "ok", "ok"]
    );
    assert!(text.contains("(2 cells)"), "{text}");

    let page = scene.mlxbench(&["ops", "a.json", "b.json", "-o", "ops.html"]);
    assert_eq!(page.status.code(), Some(0), "{}", stderr(&page));
    let page = fs::read_to_string(scene.path("ops.html")).unwrap();
    assert_eq!(page.matches(" ≠</td>").count(), 2, "{page}");
    // It is known as a page of ours, and a matrix as a matrix.
    let again = scene.mlxbench(&["ops", "a.json", "-o", "ops.html"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let other = scene.mlxbench(&["ops", "a.json", "--format", "json", "-o", "ops.html"]);
    assert_eq!(other.status.code(), Some(2));
    let itself = scene.mlxbench(&["ops", "a.json", "-o", "a.json"]);
    assert_eq!(itself.status.code(), Some(2));
    assert!(
        stderr(&itself).contains("would be lost"),
        "{}",
        stderr(&itself)
    );
}

#[test]
fn what_is_printed_is_true_to_the_schema() {
    let scene = scene();
    let schema = json(&scene.mlxbench(&["schema", "ops"]));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults = "wrong@min/f32,missing@max,die@argmax/bf16";
    let mut matrix = json(&tried(&scene, faults, &["--format", "json", "--op", "m"]));
    let errors: Vec<String> = validator
        .iter_errors(&matrix)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(matrix["ops_schema_version"], 1);
    matrix["backends"][0]["devices"][0]["cells"][0]["outcome"]["status"] = "fine".into();
    assert!(!validator.is_valid(&matrix));
}

/// Makes a worker called `mlxbench-worker-NAME` in the scene's `bin/` of a shell script.
fn foreign(scene: &Scene, name: &str, script: &str) -> String {
    let folder = scene.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("mlxbench-worker-{name}"));
    let mock = worker("mlxbench-worker-mock");
    let script = script.replace("MOCK", mock.to_str().unwrap());
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    format!("{}:{path}", folder.display())
}

#[test]
fn a_worker_that_knows_no_trials_or_fewer_is_said_not_to() {
    let scene = scene();
    // As the mock introduces itself, without a word, or with a single one, on trials.
    let path = foreign(&scene, "older", r#"MOCK | sed -u 's/,"tries":\[[^]]*\]//'"#);
    foreign(
        &scene,
        "other",
        r#"MOCK | sed -u 's/"tries":\[[^]]*\]/"tries":["sort"]/'"#,
    );
    let run = |backends: &str| {
        let mut command = scene.command(&[
            "ops",
            "--backend",
            backends,
            "--format",
            "json",
            "--op",
            "so",
        ]);
        command.env("PATH", &path).output().unwrap()
    };
    let older = run("older");
    assert_eq!(older.status.code(), Some(2));
    let says = "nothing could be tried: older: its worker doesn't know the request `try`";
    assert!(stderr(&older).contains(says), "{}", stderr(&older));
    let both = run("older,other");
    assert_eq!(both.status.code(), Some(0), "{}", stderr(&both));
    let matrix = json(&both);
    assert_eq!(
        matrix["backends"][0]["untried"],
        "its worker doesn't know the request `try`"
    );
    let cells = &matrix["backends"][1]["devices"][0]["cells"];
    for cell in cells.as_array().unwrap() {
        let expected = if cell["op"] == "sort" {
            "ok"
        } else {
            "unknown"
        };
        assert_eq!(cell["outcome"]["status"], expected, "{cell}");
    }
}

#[test]
fn what_cannot_be_tried_is_told_before_anything_is() {
    let scene = scene();
    for (arguments, says) in [
        (&["--device", "mps"][..], "mock: it has only cpu here"),
        (&["--dtype", "f64"], "write i64, f32, bf16 or f16"),
        (&["--op", "fft"], "there are cumsum, min, max"),
        (&["--timeout", "0"], "write a number above 0"),
        (&["-o", "ops.txt"], ".html or .json"),
    ] {
        let output = tried(&scene, "", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output).contains(says),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    let absent = scene.mlxbench(&["ops", "--backend", "tinygrad"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(
        stderr(&absent).contains("`mlxbench-worker-tinygrad`"),
        "{}",
        stderr(&absent)
    );
    fs::write(scene.path("other.json"), "{}").unwrap();
    let other = scene.mlxbench(&["ops", "other.json"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(
        stderr(&other).contains("other.json: not what `mlxbench ops"),
        "{}",
        stderr(&other)
    );
}
