//! `mlxbench bisect`, over a small repository whose worker is a script around the mock.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Scene, TEST, mock, stderr, stdout, worker};

/// What git does in the repository of a scene.
#[track_caller]
fn git(scene: &Scene, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(scene.path("engine"))
        .args(["-c", "user.name=A", "-c", "user.email=a@b"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output).trim().to_owned()
}

/// Commits a source that is built to a worker with this step; none doesn't build.
fn commit(scene: &Scene, subject: &str, step_ns: Option<&str>) -> String {
    let script = match step_ns {
        Some(step) => format!(
            "exec '{}' --step-ns {step}",
            worker("mlxbench-worker-mock").display()
        ),
        None => "broken".to_owned(),
    };
    commit_script(scene, subject, &script)
}

/// Commits a source that is built to a worker which is this script.
fn commit_script(scene: &Scene, subject: &str, script: &str) -> String {
    let source = format!("#!/bin/sh\n# {subject}\n{script}\n");
    fs::write(scene.path("engine/source"), source).unwrap();
    git(scene, &["add", "source"]);
    git(scene, &["commit", "--quiet", "-m", subject]);
    git(scene, &["rev-parse", "HEAD"])
}

/// The mock's time for a step in the fast and in the slow commits.
const FAST: Option<&str> = Some("10000000");
const SLOW: Option<&str> = Some("12500000");

/// A config, and a repository of these commits, whose names are handed back.
fn scene(steps: &[Option<&str>]) -> (Scene, Vec<String>) {
    let scene = Scene::new();
    let target = mock("mock", &[]);
    scene.config(&format!("[measure]\nrepetitions = 2\n{TEST}{target}"));
    fs::create_dir(scene.path("engine")).unwrap();
    git(&scene, &["init", "--quiet"]);
    let steps = steps.iter().enumerate();
    let commits = steps.map(|(at, step)| commit(&scene, &format!("Change {at}"), *step));
    let commits = commits.collect();
    (scene, commits)
}

/// Refuses what is broken; else the source is the program, below a folder that git ignores.
const BUILD: &str =
    "! grep -q broken source && mkdir -p out && cp source out/worker && chmod +x out/worker";

fn bisect(scene: &Scene, good: &str, bad: &str) -> std::process::Output {
    command(scene, good, bad, BUILD).output().unwrap()
}

fn command(scene: &Scene, good: &str, bad: &str, build: &str) -> Command {
    let range = ["--good", good, "--bad", bad, "--repository", "engine"];
    let worker = ["--build", build, "--worker", "out/worker"];
    scene.command(&[&["bisect", "config.toml"][..], &range, &worker].concat())
}

/// That nothing of a bisection is left, and the user's checkout is as it was.
#[track_caller]
fn assert_untouched(scene: &Scene, head: &str) {
    assert_eq!(git(scene, &["rev-parse", "HEAD"]), head);
    assert_eq!(git(scene, &["status", "--porcelain"]), "");
    assert_eq!(git(scene, &["worktree", "list"]).lines().count(), 1);
    assert!(!Path::new(&scene.path("engine/.git/BISECT_START")).exists());
}

#[test]
fn the_commit_that_made_it_slow_is_found() {
    let (scene, commits) = scene(&[FAST, FAST, FAST, SLOW, SLOW, SLOW]);
    let output = bisect(&scene, &commits[0], "HEAD");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = stdout(&output);
    let first = format!("First bad commit: {}\n", commits[3]);
    assert!(found.starts_with(&first), "{found}");
    assert!(found.contains(": Change 3\n"), "{found}");
    assert!(
        found.contains("decode of mock/cpu/f32 pp8+tg5 -20.0 % ("),
        "{found}"
    );
    assert_untouched(&scene, &commits[5]);
}

#[test]
fn a_commit_that_does_not_build_is_skipped() {
    let (scene, commits) = scene(&[FAST, FAST, None, SLOW, SLOW]);
    let output = bisect(&scene, &commits[0], &commits[4]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stdout(&output);
    let skipped = format!("{}: skipped: it doesn't build", commits[2]);
    assert!(said.contains(&skipped), "{said}");
    assert_untouched(&scene, &commits[4]);
}

#[test]
fn a_commit_whose_worker_cannot_introduce_itself_is_skipped() {
    let (scene, good) = scene(&[FAST]);
    let candle = format!("exec '{}'", worker("mlxbench-worker-candle").display());
    let unusable = [
        ("echo no such symbol >&2; exit 3", "no such symbol"),
        (
            "read -r line; echo '{\"type\": \"hello\", \"protocol\": 1}'",
            "the worker speaks protocol 1",
        ),
        (
            candle.as_str(),
            "it is a worker of candle, the good one of mock",
        ),
    ];
    let unusable = unusable.map(|(script, why)| (commit_script(&scene, "Unusable", script), why));
    let bad = commit(&scene, "Slow", SLOW);
    let output = bisect(&scene, &good[0], &bad);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stdout(&output);
    for (commit, why) in &unusable {
        let line = said.lines().find(|line| line.contains(commit.as_str()));
        let line = line.unwrap_or_default();
        assert!(
            line.contains(": skipped: ") && line.contains(*why),
            "{why}: {said}"
        );
    }
    // As the good one there would be nothing to measure against.
    let crashing = unusable[0].0.as_str();
    let output = bisect(&scene, crashing, &bad);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let said = stderr(&output);
    let refused = format!("--good {crashing}: its worker can't introduce itself");
    assert!(said.contains(&refused), "{said}");
    assert_untouched(&scene, &bad);
}

#[test]
fn a_commit_is_measured_for_no_longer_than_its_minutes() {
    // Just the threshold slower: no round tells on which side of it.
    let (scene, commits) = scene(&[FAST, Some("10526316")]);
    let mut short = command(&scene, &commits[0], "HEAD", BUILD);
    let output = short.args(["--max-minutes", "0.001"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains("--max-minutes was reached"), "{said}");
    assert!(said.contains("it can't be told whether"), "{said}");
    assert_untouched(&scene, &commits[1]);
}

#[test]
fn the_commit_after_the_good_one_is_measured_once() {
    let (scene, commits) = scene(&[FAST, SLOW]);
    let output = bisect(&scene, &commits[0], "HEAD");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let first = format!("First bad commit: {}\n", commits[1]);
    assert!(stdout(&output).starts_with(&first), "{}", stdout(&output));
    let tried = format!("{}: bad, ", commits[1]);
    assert_eq!(stderr(&output).matches(&tried).count(), 1);
    assert_untouched(&scene, &commits[1]);
}

#[test]
fn a_search_that_breaks_off_is_no_answer() {
    let (scene, commits) = scene(&[FAST, FAST, FAST, SLOW, SLOW]);
    // The commit in the middle takes the config with it: no further one could be measured.
    let wreck = format!(
        "if grep -q 'Change 2' source; then rm \"$MLXBENCH_REPOSITORY/../config.toml\"; fi; {BUILD}"
    );
    let output = command(&scene, &commits[0], "HEAD", &wreck)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains("`git bisect run` broke off"), "{said}");
    assert_untouched(&scene, &commits[4]);
}

#[test]
fn a_bad_commit_that_is_no_slower_is_refused() {
    let (scene, commits) = scene(&[FAST, FAST]);
    let output = bisect(&scene, &commits[0], &commits[1]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("is no slower than --good"), "{said}");
    assert_untouched(&scene, &commits[1]);
}

#[test]
fn revisions_and_builds_that_cannot_be_are_refused() {
    let (scene, commits) = scene(&[None, SLOW]);
    for (good, bad, why) in [
        ("nowhere", "HEAD", "`nowhere` is no commit of"),
        ("HEAD", commits[0].as_str(), "is no ancestor of"),
        ("HEAD", "HEAD", "is no ancestor of"),
        (commits[0].as_str(), "HEAD", "it doesn't build"),
    ] {
        let output = bisect(&scene, good, bad);
        assert_eq!(output.status.code(), Some(2), "{good} {bad}");
        let said = stderr(&output);
        assert!(said.contains(why), "{said}");
    }
    assert_untouched(&scene, &commits[1]);
}

#[test]
fn a_signal_ends_a_build_and_leaves_nothing() {
    let (scene, commits) = scene(&[FAST, SLOW]);
    // Until a signal comes.
    let build = "echo it builds; tail -f /dev/null";
    let mut run = scene.wait_for("it builds", command(&scene, &commits[0], "HEAD", build));
    let pid = run.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_untouched(&scene, &commits[1]);
    let left = fs::read_dir(scene.path("")).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left
        .filter(|name| name.starts_with("mlxbench-bisect"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
