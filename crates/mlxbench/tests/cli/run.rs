//! `mlxbench run` through real processes: exact figures on the mock's clock, and every fault.

use std::process::{Child, Command};

use crate::support::{Scene, TEST, mock, stderr, stdout, worker};

const TWO: &str = "[measure]\nrepetitions = 2\nprocesses = 1\nmax_warmup = 1\n";

fn config(scene: &Scene, targets: &[String]) {
    scene.config(&format!("{TWO}{TEST}{}", targets.concat()));
}

#[test]
fn scripted_times_come_out_exactly() {
    let scene = Scene::new();
    let script = ["--prefill-ns-per-token", "2000000", "--step-ns", "4000000"];
    config(&scene, &[mock("steady", &script)]);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let samples = result["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    // Eight prompt tokens, then a step a token.
    let expected = serde_json::json!([16_000_000, 20_000_000, 24_000_000, 28_000_000, 32_000_000]);
    assert_eq!(samples[0]["token_ns"], expected);
    assert!(result["finished"].is_string());
    assert!(stdout(&run).contains("pp8+tg5"), "{}", stdout(&run));
}

#[test]
fn every_target_gets_the_same_prompt() {
    let scene = Scene::new();
    config(
        &scene,
        &[mock("one", &[]), mock("two", &["--step-ns", "1"])],
    );
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let result = scene.result();
    let samples = result["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 4);
    assert!(
        samples
            .iter()
            .all(|sample| sample["tokens"] == samples[0]["tokens"])
    );
    // They take turns, in an order of its own each round.
    for (round, turns) in samples.chunks(2).enumerate() {
        assert!(turns.iter().all(|sample| sample["repetition"] == round));
        assert_ne!(turns[0]["target"], turns[1]["target"]);
    }
}

#[test]
fn candle_runs_beside_the_mock() {
    let scene = Scene::new();
    worker("mlxbench-worker-candle");
    let candle = "[[target]]\nbackend = \"candle\"\ndevice = \"cpu\"\ndtypes = [\"f32\"]\n";
    config(&scene, &[candle.to_owned(), mock("steady", &[])]);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let samples = result["samples"].as_array().unwrap();
    let candle: Vec<_> = samples
        .iter()
        .filter(|s| s["target"]["backend"] == "candle")
        .collect();
    assert_eq!(candle.len(), 2);
    assert_eq!(
        candle[0]["tokens"], candle[1]["tokens"],
        "greedy decoding repeats itself"
    );
    assert!(
        candle[0]["peak_memory_bytes"]
            .as_u64()
            .is_none_or(|bytes| bytes > 1 << 20)
    );
}

#[test]
fn a_worker_that_dies_costs_its_row_and_is_quoted() {
    let scene = Scene::new();
    config(
        &scene,
        &[mock("mortal", &["--fault", "die@2"]), mock("steady", &[])],
    );
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(
        result["samples"].as_array().unwrap().len(),
        2,
        "the other target's"
    );
    let failure = &result["failures"][0];
    assert_eq!(failure["kind"], "died");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("mock: dying as scripted"), "{message}");
    assert!(stdout(&run).contains("died"), "{}", stdout(&run));
}

#[test]
fn a_worker_that_hangs_is_killed_and_told() {
    let scene = Scene::new();
    let hanging = mock("hanging", &["--fault", "hang@1"]);
    scene.config(&format!("{TWO}timeout_seconds = 1\n{TEST}{hanging}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3));
    assert_eq!(scene.result()["failures"][0]["kind"], "timed_out");
}

#[test]
fn logits_that_are_not_finite_make_the_run_exit_3() {
    let scene = Scene::new();
    config(&scene, &[mock("nan", &["--fault", "not-finite@2"])]);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    assert!(stdout(&run).contains("finite"), "{}", stdout(&run));
}

#[test]
fn rubbish_in_place_of_a_reply_is_quoted() {
    let scene = Scene::new();
    let target = "[[target]]\nbackend = \"loud\"\ndtypes = [\"f32\"]\n\
        [backend.loud]\ncommand = [\"sh\", \"-c\", \"echo Loading; cat >/dev/null\"]\n";
    config(&scene, &[target.to_owned(), mock("steady", &[])]);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3));
    let result = scene.result();
    assert_eq!(result["failures"][0]["kind"], "protocol");
    assert!(
        result["failures"][0]["message"]
            .as_str()
            .unwrap()
            .contains("\"Loading\"")
    );
}

#[test]
fn missing_and_unsupported_targets_are_rows_with_a_reason() {
    let scene = Scene::new();
    let missing = "[[target]]\nbackend = \"absent\"\ndtypes = [\"f32\"]\n".to_owned();
    let f16 = mock("steady", &[]).replace("[\"f32\"]", "[\"f32\", \"f16\"]");
    config(&scene, &[missing, f16]);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3));
    let result = scene.result();
    let kinds: Vec<_> = result["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["kind"])
        .collect();
    assert_eq!(kinds, ["missing", "unsupported"]);
    assert_eq!(result["samples"].as_array().unwrap().len(), 2);
}

#[test]
fn the_run_is_fine_without_optional_targets() {
    let scene = Scene::new();
    let absent = "[[target]]\nbackend = \"absent\"\ndtypes = [\"f32\"]\noptional = true\n";
    config(&scene, &[absent.to_owned(), mock("steady", &[])]);
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
}

#[test]
fn a_filter_picks_cases_and_a_wrong_one_is_told() {
    let scene = Scene::new();
    config(&scene, &[mock("one", &[]), mock("two", &[])]);
    let run = scene.mlxbench(&["run", "config.toml", "--filter", "two/cpu"]);
    assert!(run.status.success(), "{}", stderr(&run));
    assert_eq!(scene.result()["samples"].as_array().unwrap().len(), 2);
    let run = scene.mlxbench(&["run", "config.toml", "--filter", "three"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("one/cpu/f32 pp8+tg5"),
        "{}",
        stderr(&run)
    );
}

/// Starts a run whose worker hangs after one repetition, and waits until it hangs.
fn hanging_run(scene: &Scene) -> Child {
    // Generations: warm-up, first repetition, then the one that hangs.
    config(scene, &[mock("mock", &["--fault", "hang@3"])]);
    scene.run_until("2/2")
}

/// Goes on with the scene's run, its worker mended, and checks that nothing was measured twice.
fn resume(scene: &Scene) {
    let journal = std::fs::read_to_string(scene.written(".journal.jsonl")).unwrap();
    assert_eq!(journal.matches("\"record\":\"sample\"").count(), 1);
    config(scene, &[mock("mock", &[])]);
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let result = scene.result();
    let samples = result["samples"].as_array().unwrap();
    let repetitions: Vec<_> = samples.iter().map(|sample| &sample["repetition"]).collect();
    assert_eq!(repetitions, [0, 1]);
}

#[test]
fn a_killed_run_keeps_what_was_measured_and_goes_on() {
    let scene = Scene::new();
    let mut run = hanging_run(&scene);
    run.kill().unwrap();
    run.wait().unwrap();
    resume(&scene);
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_exits_130() {
    let scene = Scene::new();
    let mut run = hanging_run(&scene);
    let sent = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    resume(&scene);
}

#[test]
fn resuming_another_config_or_nothing_is_refused() {
    let scene = Scene::new();
    config(&scene, &[mock("mock", &[])]);
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("nothing to resume"),
        "{}",
        stderr(&run)
    );

    let mut run = hanging_run(&scene);
    run.kill().unwrap();
    run.wait().unwrap();
    scene.config(&format!(
        "[measure]\nrepetitions = 3\nmax_warmup = 1\n{TEST}{}",
        mock("mock", &[])
    ));
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("[measure] changed"),
        "{}",
        stderr(&run)
    );
}

#[test]
fn a_journal_can_be_reported_without_its_cut_last_line() {
    let scene = Scene::new();
    let mut run = hanging_run(&scene);
    run.kill().unwrap();
    run.wait().unwrap();
    let journal = scene.written(".journal.jsonl");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str("{\"record\":\"sample\",\"targ");
    std::fs::write(&journal, text).unwrap();
    let report = scene.mlxbench(&["report", journal.to_str().unwrap(), "--format", "csv"]);
    assert!(report.status.success(), "{}", stderr(&report));
    assert_eq!(stdout(&report).lines().count(), 2, "{}", stdout(&report));
}

#[test]
fn an_output_folder_that_is_a_file_stops_the_run_before_it_starts() {
    let scene = Scene::new();
    config(&scene, &[mock("mock", &[])]);
    std::fs::write(scene.path("taken"), "").unwrap();
    let run = scene.mlxbench(&["run", "config.toml", "--out", "taken"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(stderr(&run).contains("taken"), "{}", stderr(&run));
}

#[test]
fn json_is_the_only_thing_printed_when_asked_for() {
    let scene = Scene::new();
    config(&scene, &[mock("mock", &[])]);
    let run = scene.mlxbench(&["run", "config.toml", "--json"]);
    assert_eq!(stderr(&run), "");
    let printed: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(printed.is_object() || printed.is_array());
}
