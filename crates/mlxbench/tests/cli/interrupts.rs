//! Ctrl-C at any moment, and one run at a time on a machine.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Scene, TEST, mock, runs, scripted, stderr};

/// How long something is waited for that takes a moment.
const LONG: Duration = Duration::from_secs(60);

/// Waits until `holds` does.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "{what} doesn't come about");
        std::thread::yield_now();
    }
}

/// What a file holds, once it holds a line.
fn line_of(file: &Path) -> String {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    wait_until("the file", || read().ends_with('\n'));
    read().trim().to_owned()
}

pub(crate) fn interrupt(run: &Child) {
    let pid = run.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
}

/// Waits for a process that should end by itself soon.
pub(crate) fn end_of(mut run: Child) -> ExitStatus {
    let mut status = None;
    wait_until("the end of the run", || {
        status = run.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// A worker that never answers and doesn't care about the end of its stdin.
const DEAF: &str = "echo $$ >> pids; exec sleep 1000";

#[test]
fn ctrl_c_while_workers_introduce_themselves_leaves_none() {
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", scripted(DEAF)));
    let run = scene.command(&["run", "config.toml"]).spawn().unwrap();
    let pid = line_of(&scene.path("pids"));
    interrupt(&run);
    assert_eq!(end_of(run).code(), Some(130));
    wait_until("the worker's end", || !runs(&pid));
    assert!(!scene.path("results").exists(), "nothing was measured");
}

#[test]
fn ctrl_c_while_a_script_brings_the_model_ends_that_too() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &[])));
    let config = std::fs::read_to_string(scene.path("config.toml")).unwrap();
    let config = config.replace("source = \"model\"", "source = \"script:fetch.sh\"");
    std::fs::write(scene.path("config.toml"), config).unwrap();
    let script = scene.path("fetch.sh");
    std::fs::write(&script, format!("#!/bin/sh\n{DEAF}\n")).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let run = scene.command(&["run", "config.toml"]).spawn().unwrap();
    let pid = line_of(&scene.path("pids"));
    interrupt(&run);
    assert_eq!(end_of(run).code(), Some(130));
    wait_until("the script's end", || !runs(&pid));
}

#[test]
fn ctrl_c_works_while_nobody_reads_what_is_told() {
    let scene = Scene::new();
    scene.config(&format!(
        "{TEST}{}",
        scripted("echo $$ >> pids; exec WORKER")
    ));
    let (unread, told) = std::io::pipe().unwrap();
    // Keeps the pipe full: whatever is told then waits.
    let mut full = told.try_clone().unwrap();
    std::thread::spawn(move || std::io::Write::write_all(&mut full, &vec![b'x'; 1 << 22]));
    let run = scene.command(&["run", "config.toml"]).stderr(told).spawn();
    let run = run.unwrap();
    line_of(&scene.path("pids"));
    interrupt(&run);
    assert_eq!(end_of(run).code(), Some(130));
    drop(unread);
}

#[test]
fn the_machine_is_taken_before_anything_is_started() {
    let scene = Scene::new();
    scene.config(&format!(
        "{TEST}{}",
        mock("hanging", &["--fault", "hang@1"])
    ));
    let mut first = scene.run_until("warm-up");

    scene.config(&format!("{TEST}{}", scripted(DEAF)));
    let tokens = ["--backend", "candle", "--tokens", "2,3"];
    let generate = [&["generate", "--model", "model"], tokens.as_slice()].concat();
    for second in [&["run", "config.toml"], generate.as_slice()] {
        let second = scene.command(second).stdin(Stdio::null()).output().unwrap();
        assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
        let said = stderr(&second);
        assert!(said.contains("another run is measuring"), "{said}");
    }
    assert!(
        !scene.path("pids").exists(),
        "a worker was started all the same"
    );
    first.kill().unwrap();
    first.wait().unwrap();
}
