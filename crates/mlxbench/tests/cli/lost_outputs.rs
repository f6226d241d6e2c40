//! Readers that go away and disks that are full: what was measured is kept, and exit codes say what they
//! always say.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Scene, TEST, mock, stderr, stdout};

const FOUR: &str = "[measure]\nrepetitions = 4\nmax_warmup = 1\n";

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn scene(arguments: &[&str]) -> Scene {
    let scene = Scene::new();
    scene.config(&format!("{FOUR}{TEST}{}", mock("mock", arguments)));
    scene
}

fn samples(result: &Path) -> Vec<Value> {
    let result: Value = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    result["samples"].as_array().unwrap().clone()
}

#[test]
fn a_run_whose_readers_are_gone_is_measured_to_its_end() {
    let scene = scene(&[]);
    let run = scene
        .command(&["run", "config.toml"])
        .stderr(closed())
        .output();
    assert_eq!(run.unwrap().status.code(), Some(0));
    assert_eq!(samples(&scene.written("Z.json")).len(), 4);
    let run = scene.command(&["run", "config.toml", "--out", "other"]);
    let status = { run }.stdout(closed()).stderr(closed()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    let failing = self::scene(&["--fault", "die@2"]);
    let run = failing
        .command(&["run", "config.toml"])
        .stderr(closed())
        .status();
    assert_eq!(run.unwrap().code(), Some(3), "a worker died");
}

#[test]
fn every_verb_bears_that_nobody_reads() {
    let scene = scene(&[]);
    assert!(scene.mlxbench(&["run", "config.toml"]).status.success());
    let result = scene.written("Z.json");
    let result = result.to_str().unwrap();
    for (verb, code) in [
        (vec!["baseline", "save", "main", result], 0),
        (vec!["baseline", "show", "main"], 0),
        (vec!["baseline", "list"], 0),
        (vec!["compare", result, "main"], 0),
        (vec!["report", result], 0),
        (vec!["history", "results", "-o", "history.html"], 0),
        (vec!["model", "list"], 0),
        (vec!["model", "show", "model"], 0),
        (vec!["doctor"], 0),
        (vec!["run", "nowhere.toml"], 2),
        (vec!["report", "nowhere.json"], 2),
        (vec!["no-such-verb"], 2),
    ] {
        let mut command = scene.command(&verb);
        let status = command.stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{verb:?}");
    }
}

#[test]
fn a_table_that_cannot_be_printed_costs_nothing_of_the_run() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: this system has no /dev/full");
        return;
    }
    let scene = scene(&[]);
    let stdout = std::fs::File::options().write(true).open(full).unwrap();
    let run = scene
        .command(&["run", "config.toml"])
        .stdout(stdout)
        .output();
    let run = run.unwrap();
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    assert!(
        stderr(&run).contains("can't be printed"),
        "{}",
        stderr(&run)
    );
    assert_eq!(samples(&scene.written("Z.json")).len(), 4);
}

/// Runs the scene's config where no file may grow beyond so many blocks of the shell's `ulimit -f`.
fn run_on_a_full_disk(scene: &Scene, out: &str, blocks: u32) -> Output {
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let run = scene.command(&["run", "config.toml", "--out", out]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(limited).arg(run.get_program());
    shell.args(run.get_args()).current_dir(scene.path(""));
    for (name, value) in run.get_envs() {
        shell.env(name, value.unwrap());
    }
    shell.output().unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_disk_that_is_full_at_any_record_loses_nothing_that_was_written() {
    let scene = scene(&[]);
    let (mut cut, mut whole) = (0, 0);
    for blocks in (1..).step_by(2) {
        let out = format!("disk{blocks}");
        let run = run_on_a_full_disk(&scene, &out, blocks);
        let folder = scene.path(&out).join("scene");
        let said = stderr(&run);
        let kept = files(&folder);
        match run.status.code() {
            // Not even the run's beginning fits: nothing was started, nothing is left.
            Some(2) => {
                assert_eq!(kept, Vec::<PathBuf>::new(), "{said}");
                continue;
            }
            Some(3) => {
                assert!(said.contains("results can't be written"), "{said}");
                assert!(stdout(&run).contains("pp8+tg5"), "the table is shown");
            }
            Some(0) => whole += 1,
            code => panic!("{code:?}: {said}"),
        }
        if whole > 0 {
            break;
        }
        let [journal] = &kept[..] else {
            panic!("one journal is left: {kept:?}")
        };
        let text = std::fs::read_to_string(journal).unwrap();
        let started = text.lines().filter_map(|line| {
            let record: Value = serde_json::from_str(line).ok()?;
            (record["record"] == "sample").then(|| record["started"].clone())
        });
        let started: Vec<Value> = started.collect();
        let resume = ["run", "config.toml", "--out", &out, "--resume"];
        let resumed = scene.mlxbench(&resume);
        assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
        let [result] = &files(&folder)[..] else {
            panic!("one result is left")
        };
        let measured = samples(result);
        assert_eq!(measured.len(), 4);
        for (sample, kept) in measured.iter().zip(&started) {
            assert_eq!(&sample["started"], kept, "measured again");
        }
        cut += usize::from(!started.is_empty());
    }
    assert!(cut > 0, "no run was cut between its samples");
}

#[test]
fn a_file_that_outgrows_the_users_limit_is_an_error_as_a_full_disk_is() {
    let scene = scene(&[]);
    // In blocks of 512 bytes, or of 1,024 in some shells: the journal fits, the result doesn't.
    let program = env!("CARGO_BIN_EXE_mlxbench");
    let script = format!("ulimit -f 4; exec {program} run config.toml");
    let run = Command::new("sh")
        .args(["-c", &script])
        .current_dir(scene.path("."))
        .env("MLXBENCH_CACHE", scene.path("cache"))
        .env("TMPDIR", scene.path("."))
        .output();
    let run = run.unwrap();
    let said = stderr(&run);
    assert!(run.status.code().is_some(), "ended by a signal: {said}");
    assert_ne!(run.status.code(), Some(0), "{said}");
    assert!(said.contains("File too large"), "{said}");
}
