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
    // `report` takes the same files.
    let report = scene.mlxbench(&["report", "a.json", "b.json"]);
    assert!(stdout(&report).starts_with(&text), "{}", stdout(&report));
    let csv = scene.mlxbench(&["report", "a.json", "--format", "csv"]);
    assert_eq!(csv.status.code(), Some(2));
    assert!(
        stderr(&csv).contains("html, md and text only"),
        "{}",
        stderr(&csv)
    );
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

/// `mlxbench ops --backend NAME` with a worker that is a script.
fn scripted(scene: &Scene, backends: &str, path: &str, arguments: &[&str]) -> Output {
    let mut command = scene.command(&["ops", "--backend", backends, "--format", "json"]);
    command.args(arguments).env("PATH", path).output().unwrap()
}

#[test]
fn a_device_that_failed_crashes_and_a_refusal_is_missing() {
    let scene = scene();
    let says = "mock: no kernel for [a-z0-9 -]*, as scripted";
    let path = foreign(
        &scene,
        "broken",
        &format!(
            "MOCK --trial-faults missing@sort | sed -u 's/{says}/CUDA error: an illegal memory access was encountered/'"
        ),
    );
    let output = scripted(&scene, "broken", &path, &["--op", "sort", "--dtype", "f32"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let matrix = json(&output);
    let found = cell(&matrix, "sort", "f32");
    assert_eq!(found["status"], "crashes", "{found}");
}

#[test]
fn a_worker_that_calls_a_trial_invalid_is_given_up() {
    let scene = scene();
    let path = foreign(
        &scene,
        "other",
        r#"MOCK --trial-faults missing@max | sed -u 's/"kind":"[a-z]*"/"kind":"invalid"/'"#,
    );
    let output = scripted(&scene, "other", &path, &["--op", "m", "--dtype", "f32"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let matrix = json(&output);
    let backend = &matrix["backends"][0];
    let fault = backend["fault"].as_str().unwrap();
    assert!(fault.contains("calls `max` in f32 invalid"), "{fault}");
    let cells = backend["devices"][0]["cells"].as_array().unwrap();
    let tried: Vec<&Value> = cells.iter().map(|cell| &cell["op"]).collect();
    assert_eq!(tried, ["cumsum", "min"]);
}

#[test]
fn a_device_that_is_gone_after_a_crash_is_given_up() {
    let scene = scene();
    // From its second process on, it has another device.
    let path = foreign(
        &scene,
        "fallen",
        r#"if test -e started; then MOCK | sed -u '/"type":"hello"/s/"device":"cpu"/"device":"cuda"/g'
else touch started; exec MOCK --trial-faults die@max; fi"#,
    );
    let output = scripted(&scene, "fallen", &path, &["--op", "m", "--dtype", "f32"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let matrix = json(&output);
    let device = &matrix["backends"][0]["devices"][0];
    let stopped = device["stopped"].as_str().unwrap();
    assert!(
        stopped.contains("doesn't find the device any more"),
        "{stopped}"
    );
    let cells = device["cells"].as_array().unwrap();
    assert!(
        cells.iter().all(|cell| cell["outcome"]["status"] == "ok"),
        "{device}"
    );
    assert_eq!(cells.len(), 2);
}

#[test]
fn a_device_is_given_up_after_three_hangs_in_a_row() {
    let scene = scene();
    let faults = "hang@min,hang@max/f32,hang@max/bf16,hang@argmax";
    let arguments = [
        "--format",
        "json",
        "--timeout",
        "5",
        "--dtype",
        "f32,bf16",
        "--op",
        "m",
    ];
    let output = tried(&scene, faults, &arguments);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let matrix = json(&output);
    let device = &matrix["backends"][0]["devices"][0];
    let statuses: Vec<&Value> = device["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| &cell["outcome"]["status"])
        .collect();
    assert_eq!(statuses, ["ok", "ok", "crashes", "crashes", "crashes"]);
    assert_eq!(
        device["stopped"],
        "3 trials in a row gave no answer in time"
    );
}

#[test]
fn a_worker_that_fails_before_it_introduces_itself_is_no_success() {
    let scene = scene();
    let path = foreign(&scene, "dead", "echo 'no driver' >&2; exit 7");
    foreign(&scene, "hung", "read line; read never");
    foreign(&scene, "rubbish", "read line; echo Loading; read never");
    for name in ["dead", "hung", "rubbish"] {
        let both = format!("{name},mock");
        let output = scripted(&scene, &both, &path, &["--op", "sort", "--timeout", "5"]);
        assert_eq!(output.status.code(), Some(3), "{name}: {}", stderr(&output));
        let backend = &json(&output)["backends"][0];
        assert!(
            backend["fault"].is_string() && backend["untried"].is_null(),
            "{backend}"
        );
    }
    let absent = scripted(&scene, "absent,mock", &path, &["--op", "sort"]);
    assert_eq!(absent.status.code(), Some(0), "{}", stderr(&absent));
}

#[test]
fn workers_see_no_variable_that_changes_what_is_computed() {
    let scene = scene();
    let names = [
        "PYTORCH_ENABLE_MPS_FALLBACK",
        "NVIDIA_TF32_OVERRIDE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    ];
    let path = foreign(
        &scene,
        "envy",
        "read line; env | grep -E 'TF32|FALLBACK|OTHER' >&2; exit 7",
    );
    let mut command = scene.command(&["ops", "--backend", "envy"]);
    command.env("PATH", path).env("OTHER_OF_THE_TEST", "1");
    for name in names {
        command.env(name, "1");
    }
    let output = command.output().unwrap();
    let says = stderr(&output);
    assert!(says.contains("OTHER_OF_THE_TEST=1"), "{says}");
    for name in names {
        assert!(!says.contains(name), "{says}");
    }
}

#[test]
fn what_was_found_is_printed_when_the_user_interrupts() {
    let scene = scene();
    // At its second process, which there is for what isn't ok, it interrupts the mlxbench that started it.
    let path = foreign(
        &scene,
        "eager",
        r#"if test -e started; then kill -INT $PPID; sleep 1000; else touch started; exec MOCK --trial-faults missing@max; fi"#,
    );
    let output = scripted(&scene, "eager", &path, &["--op", "m", "--dtype", "f32"]);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let matrix = json(&output);
    assert_eq!(matrix["interrupted"], true);
    let cells = matrix["backends"][0]["devices"][0]["cells"]
        .as_array()
        .unwrap();
    assert_eq!(cells.len(), 2);
}

#[test]
fn a_file_that_no_matrix_fills_is_refused() {
    let scene = scene();
    let file = fs::File::create(scene.path("large.json")).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    let output = scene.mlxbench(&["ops", "large.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("large.json: larger than"),
        "{}",
        stderr(&output)
    );
}
