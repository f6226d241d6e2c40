//! Files that are written: none in place of something that somebody needs, and each whole or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Scene, TEST, mock, stderr, worker};

/// A scene with a config, a result of a mock worker in `result.json`, and somebody's files.
fn measured() -> Scene {
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &[])));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    fs::copy(scene.written("Z.json"), scene.path("result.json")).unwrap();
    fs::copy(scene.path("result.json"), scene.path("other.json")).unwrap();
    fs::write(scene.path("notes.md"), "# Notes\n\n| a |\n").unwrap();
    fs::write(scene.path("page.html"), "<!DOCTYPE html><p>mine</p>").unwrap();
    fs::hard_link(scene.path("result.json"), scene.path("hard.json")).unwrap();
    symlink("config.toml", scene.path("link.toml")).unwrap();
    fs::create_dir(scene.path("charts")).unwrap();
    fs::write(scene.path("charts/decode.svg"), "<svg>mine</svg>").unwrap();
    scene
}

/// Every file below `folder` with its bytes.
fn contents(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![scene.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // The machine's lock names who holds it.
            if path.extension().is_some_and(|ending| ending == "lock") {
                continue;
            }
            match path.is_dir() {
                true => folders.push(path),
                false => files.push((path.display().to_string(), fs::read(path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn no_option_destroys_what_somebody_needs() {
    let scene = measured();
    let mock = worker("mlxbench-worker-mock").display().to_string();
    let ab = ["run", "config.toml", "--ab", &mock, &mock];
    let baseline = ["run", "config.toml", "--baseline", "result.json"];
    let compare = ["compare", "result.json", "other.json"];
    let generate = [
        "generate",
        "--model",
        "model",
        "--backend",
        "mock",
        "--tokens",
        "1,2",
        "--logits",
    ];
    let report = ["report", "result.json", "-o"];
    let history = ["history", "results", "-o"];
    let refused: &[(&[&str], &[&str])] = &[
        (&ab, &["--junit", "config.toml"]),
        (&ab, &["--junit", "link.toml"]),
        (&ab, &["--summary", "config.toml"]),
        (&ab, &["--summary", "result.json"]),
        (&ab, &["--junit", "notes.md"]),
        (&baseline, &["--junit", "result.json"]),
        (&baseline, &["--summary", "hard.json"]),
        (&compare, &["--junit", "hard.json"]),
        (&compare, &["--junit", "config.toml"]),
        (&compare, &["--summary", "tiny.json"]),
        (&compare, &["-o", "result.json"]),
        (&compare, &["--format", "md", "-o", "config.toml"]),
        (&compare, &["-o", "notes.md"]),
        (&compare, &["-o", "new.md", "--summary", "new.md"]),
        (&report, &["config.toml", "--format", "md"]),
        (&report, &["link.toml", "--format", "html"]),
        (&report, &["result.json"]),
        (&report, &["hard.json"]),
        (&report, &["other.json"]),
        (&report, &["notes.md"]),
        (&report, &["page.html"]),
        (&report, &["model/model.safetensors", "--format", "csv"]),
        (&report, &["charts", "--format", "svg"]),
        (&report, &["model", "--format", "csv"]),
        (&history, &["result.json"]),
        (&history, &["config.toml"]),
        (&history, &["page.html"]),
        (&generate, &["model/model.safetensors"]),
        (&generate, &["config.toml"]),
        (&generate, &["result.json"]),
        (&["model", "synth", "tiny.json"], &["-o", "tiny.json"]),
        (&["model", "import", "config.toml"], &["-o", "result.json"]),
    ];
    let before = contents(&scene);
    for (command, options) in refused {
        let arguments = [*command, *options].concat();
        let output = scene.mlxbench(&arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        let words = [
            "write to another file",
            "name a file",
            "name a new folder",
            "named twice",
        ];
        assert!(
            words.iter().any(|word| message.contains(word)),
            "{arguments:?}: {message}"
        );
        assert!(contents(&scene) == before, "{arguments:?} changed a file");
    }
}

#[test]
fn earlier_outputs_are_written_again() {
    let scene = measured();
    let compare = ["compare", "result.json", "other.json"];
    for arguments in [
        &["report", "result.json", "-o", "a.html"][..],
        &["report", "result.json", "-o", "a.md"],
        &["report", "result.json", "-o", "a.csv"],
        &["report", "result.json", "-o", "a.json"],
        &["report", "result.json", "-o", "a.txt"],
        &[
            "report",
            "result.json",
            "-o",
            "b.json",
            "--format",
            "llama-bench-json",
        ],
        &[
            "report",
            "result.json",
            "-o",
            "b.md",
            "--format",
            "llama-bench-md",
        ],
        &[
            "report",
            "result.json",
            "-o",
            "c.json",
            "--format",
            "bigger-is-better",
        ],
        &["report", "result.json", "-o", "pictures", "--format", "svg"],
        &["history", "results", "-o", "h.html"],
        &[
            &compare[..],
            &["-o", "d.md", "--junit", "d.xml", "--summary", "s.md"],
        ]
        .concat(),
        &[&compare[..], &["-o", "d.txt"]].concat(),
        &[&compare[..], &["-o", "d.json"]].concat(),
        &[
            "generate",
            "--model",
            "model",
            "--backend",
            "mock",
            "--tokens",
            "1,2",
            "--logits",
            "l.safetensors",
        ],
    ] {
        for time in ["first", "second"] {
            let output = scene.mlxbench(arguments);
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 3)),
                "{time}: {arguments:?}: {}",
                stderr(&output)
            );
        }
    }
    let left = contents(&scene);
    assert!(
        left.iter()
            .all(|(name, _)| !name.contains("mlxbench-partial"))
    );
    let summary = fs::read_to_string(scene.path("s.md")).unwrap();
    assert_eq!(
        summary.matches("### mlxbench").count(),
        2,
        "a summary is added to"
    );
}

#[test]
fn permissions_and_links_stay_as_they_were() {
    let scene = measured();
    let document = "<!-- mlxbench: result.json -->\nwhat stood here\n<!-- /mlxbench -->\n";
    fs::write(scene.path("real.md"), document).unwrap();
    fs::set_permissions(scene.path("real.md"), Permissions::from_mode(0o604)).unwrap();
    symlink("real.md", scene.path("doc.md")).unwrap();
    let spliced = scene.mlxbench(&["report", "--splice", "doc.md"]);
    assert!(spliced.status.success(), "{}", stderr(&spliced));
    let real = fs::metadata(scene.path("real.md")).unwrap();
    assert_eq!(real.permissions().mode() & 0o777, 0o604);
    assert!(
        fs::symlink_metadata(scene.path("doc.md"))
            .unwrap()
            .is_symlink()
    );
    assert!(
        !fs::read_to_string(scene.path("real.md"))
            .unwrap()
            .contains("stood")
    );
}

#[test]
fn pipes_and_devices_can_be_written_to() {
    let scene = measured();
    let report = ["report", "result.json", "--format", "csv", "-o"];
    let to = |path: &str| scene.mlxbench(&[&report[..], &[path]].concat());
    let stdout = to("/dev/stdout");
    assert!(stdout.status.success(), "{}", stderr(&stdout));
    assert!(stdout.stdout.starts_with(b"run,started,"));
    assert!(to("/dev/null").status.success());
    // What a shell redirected to a file stands behind what is there.
    fs::write(scene.path("log"), "before\n").unwrap();
    let log = fs::OpenOptions::new()
        .append(true)
        .open(scene.path("log"))
        .unwrap();
    let mut command = scene.command(&[&report[..], &["/dev/stdout"]].concat());
    assert!(command.stdout(log).status().unwrap().success());
    let log = fs::read_to_string(scene.path("log")).unwrap();
    assert!(log.starts_with("before\nrun,started,"), "{log}");
    if fs::exists("/dev/full").unwrap() {
        let full = to("/dev/full");
        assert_eq!(full.status.code(), Some(2));
        assert!(stderr(&full).contains("/dev/full: "), "{}", stderr(&full));
    }
}

#[test]
fn logits_that_came_to_nothing_leave_the_earlier_ones() {
    let scene = measured();
    let generate = |backend| {
        let arguments = [
            "generate",
            "--model",
            "model",
            "--backend",
            backend,
            "--tokens",
            "1,2",
        ];
        scene.mlxbench(&[&arguments[..], &["--logits", "logits.safetensors"]].concat())
    };
    assert!(generate("mock").status.success());
    let before = contents(&scene);
    assert!(!generate("no-such").status.success());
    assert!(contents(&scene) == before);
}

#[test]
fn a_result_in_utf_16_is_named_as_such() {
    let scene = measured();
    let text = fs::read_to_string(scene.path("result.json")).unwrap();
    let bytes: Vec<u8> = format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(scene.path("wide.json"), bytes).unwrap();
    let output = scene.mlxbench(&["report", "wide.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("wide.json is UTF-16"),
        "{}",
        stderr(&output)
    );
}
