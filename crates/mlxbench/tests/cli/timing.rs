//! What tokens' times hold, and whether what was timed is what was checked.

use mlxbench_core::clock::VirtualClock;
use mlxbench_core::mock::{MockBackend, Script};
use serde_json::Value;

use crate::support::{Scene, TEST, mock, scripted, stderr, stdout, worker};

#[test]
fn a_mock_in_real_time_holds_to_the_clock_whatever_its_reads_wait_for() {
    for (asynchronous, in_order_reads) in [(false, false), (true, false), (true, true)] {
        let script = Script {
            prefill_ns_per_token: 300_000,
            step_ns: 300_000,
            launch_ns: 50_000,
            read_ns: 20_000,
            real_time: true,
            asynchronous,
            in_order_reads,
            ..Script::default()
        };
        let mut backend = MockBackend::new(script, VirtualClock::in_real_time());
        mlxbench_conformance::timing::tokens_take_their_own_time(&mut backend).unwrap();
    }
}

#[test]
fn a_row_that_fell_back_to_synchronous_says_why() {
    let scene = Scene::new();
    let flags = [
        "--launch-ns",
        "1000000",
        "--step-ns",
        "9000000",
        "--asynchronous",
    ];
    let own = mock("own", &flags);
    let in_order = mock("in-order", &[&flags[..], &["--in-order-reads"]].concat());
    let immediate = mock("immediate", &flags[..4]);
    scene.config(&format!(
        "[measure]\nrepetitions = 1\n{TEST}{own}{in_order}{immediate}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let shown = stdout(&run);
    let noted: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("each token read before the next step"))
        .collect();
    assert!(
        matches!(noted[..], [line] if line.contains("in-order")),
        "{shown}"
    );

    let result = scene.result();
    let of = |list: &str, key: &str| -> Vec<Value> {
        let entries = result[list].as_array().unwrap().iter();
        entries.map(|entry| entry[key].clone()).collect()
    };
    assert_eq!(of("targets", "reads"), ["own", "in_order", "immediate"]);
    let mut forms: Vec<(String, Value)> = result["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| {
            (
                sample["target"]["backend"].to_string(),
                sample["form"].clone(),
            )
        })
        .collect();
    forms.sort_by(|a, b| a.0.cmp(&b.0));
    let forms: Vec<Value> = forms.into_iter().map(|(_, form)| form).collect();
    assert_eq!(forms, ["synchronous", "synchronous", "pipelined"]);
}

#[test]
fn the_mock_tells_its_flags() {
    let help = std::process::Command::new(worker("mlxbench-worker-mock"))
        .arg("--help")
        .output()
        .unwrap();
    for flag in [
        "--launch-ns",
        "--in-order-reads",
        "--asynchronous",
        "--step-ns",
        "--prefill-ns-per-token",
        "--read-ns",
        "--real-time",
    ] {
        assert!(stdout(&help).contains(flag), "{flag}: {}", stdout(&help));
    }
}

const REFERENCE: &str = "[equivalence]\nreference = \"first/cpu/f32\"\npositions = 8\n\
    [measure]\nrepetitions = 2\nwarmup = 0\n";

#[test]
fn timed_tokens_that_no_rounding_explains_are_other_work() {
    let scene = Scene::new();
    // It gives the reference's logits when it is checked, and another token when it is timed.
    let altered = scripted(r#"WORKER | sed -u 's/"tokens":\[\[[0-9]*/"tokens":[[7/'"#);
    scene.checked_config(&format!("{REFERENCE}{TEST}{}{altered}", mock("first", &[])));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    assert!(
        stdout(&run).contains("part at position 0"),
        "{}",
        stdout(&run)
    );
    let result = scene.result();
    let parting = &result["partings"][0];
    assert_eq!(parting["divergence"]["position"], 0);
    assert_eq!(parting["divergence"]["token"], 7);
    assert_eq!(parting["divergence"]["margin"], 1.0);
    let verdicts: Vec<&Value> = result["equivalences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|known| &known["verdict"])
        .collect();
    assert_eq!(verdicts, ["reference", "different"]);
    let report = scene.mlxbench(&[
        "report",
        scene.written("Z.json").to_str().unwrap(),
        "--format",
        "md",
    ]);
    let report = stdout(&report);
    assert!(
        report.contains("part at position 0 of 5: 7 for"),
        "{report}"
    );
}

#[test]
fn the_same_timed_tokens_are_told() {
    let scene = Scene::new();
    scene.checked_config(&format!(
        "{REFERENCE}{TEST}{}{}",
        mock("first", &[]),
        mock("second", &["--asynchronous"])
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let report = scene.mlxbench(&[
        "report",
        scene.written("Z.json").to_str().unwrap(),
        "--format",
        "md",
    ]);
    let report = stdout(&report);
    assert!(
        report.contains("mock f32 (second) pp8+tg5: all 5 the same"),
        "{report}"
    );
}

#[test]
fn a_worker_that_takes_one_row_is_checked_in_one() {
    let scene = Scene::new();
    let single = scripted(
        r#"exec 3>&1
        while IFS= read -r line; do
            case "$line" in
            *'"type":"score"'*'],['*)
                echo '{"type":"error","kind":"unsupported","message":"one row only"}' >&3 ;;
            *) printf '%s\n' "$line" ;;
            esac
        done | WORKER"#,
    );
    scene.checked_config(&format!("{REFERENCE}{TEST}{}{single}", mock("first", &[])));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}{}", stdout(&run), stderr(&run));
    let checked = &scene.result()["equivalences"][1];
    assert_eq!(checked["verdict"], "identical");
    assert_eq!(checked["fidelity"]["positions"], 4);
    assert_eq!(checked["reason"], "compared in one row: one row only");
}
