//! Workers as people name them and as they behave: paths with spaces, and whatever they print.

use crate::support::{Scene, TEST, mock, scripted, stderr, stdout, worker};

/// A link to the mock whose path holds spaces, below the scene's folder.
fn spaced(scene: &Scene) -> String {
    let folder = scene.path("my builds");
    std::fs::create_dir(&folder).unwrap();
    let link = folder.join("mock worker --old");
    std::os::unix::fs::symlink(worker("mlxbench-worker-mock"), &link).unwrap();
    link.to_str().unwrap().to_owned()
}

#[test]
fn a_path_with_spaces_is_a_worker_of_a_config() {
    let scene = Scene::new();
    spaced(&scene);
    let absolute = mock("mock", &[]);
    let program = worker("mlxbench-worker-mock");
    let relative = absolute.replace(program.to_str().unwrap(), "./my builds/mock worker --old");
    assert_ne!(absolute, relative);
    scene.config(&format!("[measure]\nrepetitions = 1\n{TEST}{relative}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
}

#[test]
fn a_path_with_spaces_is_a_side_of_ab() {
    let scene = Scene::new();
    let spaced = spaced(&scene);
    scene.config(&format!(
        "[measure]\nrepetitions = 2\n{TEST}{}",
        mock("mock", &[])
    ));
    let quoted = format!("'{spaced}' --step-ns 10000000");
    let ab = [
        "run",
        "config.toml",
        "--ab",
        &spaced,
        &quoted,
        "--metric",
        "decode",
    ];
    let run = scene.mlxbench(&ab);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(stdout(&run).contains("pass"), "{}", stdout(&run));
}

#[test]
fn what_a_worker_prints_does_not_act_on_the_terminal() {
    let scene = Scene::new();
    let escape = r"\033[2J\007\302\233";
    let dying = scripted(&format!(
        "printf 'last {escape} words\\n' >&2; read line; exit 1"
    ));
    let failing = r#"{"type":"error","kind":"failed","message":"no\u001b[2J\u0007 way\nException raised from f at g.cpp:1 (most recent call first):\nframe #0: main"}"#;
    let failing = format!("read line; printf '%s\\n' '{failing}'; read never");
    let failing = scripted(&failing).replace("mock", "failing");
    scene.config(&format!("{TEST}{dying}{failing}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let shown = stdout(&run) + &stderr(&run);
    assert!(shown.contains(r"last \u001b[2J"), "{shown}");
    assert!(shown.contains(r"no\u001b[2J\u0007 way"), "{shown}");
    assert!(!shown.contains("frame #0"), "{shown}");
    let acts = |character: char| character.is_control() && character != '\n';
    assert!(!shown.contains(acts), "{shown:?}");
}
