//! `mlxbench share` and what is done with shared results.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Scene, TEST, mock, stderr, stdout};

/// A run in a folder whose path is the user's own, shared: the file's path in the scene.
fn share(scene: &Scene) -> PathBuf {
    scene.config(&format!(
        "[measure]\nrepetitions = 2\n{TEST}{}",
        mock("mock", &[])
    ));
    let text = fs::read_to_string(scene.path("config.toml")).unwrap();
    let model = scene.path("model").display().to_string();
    let text = text.replace("\"model\"", &format!("{model:?}"));
    fs::write(
        scene.path("config.toml"),
        format!("description = \"of Ada\"\n{text}"),
    )
    .unwrap();
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let written = scene.written("Z.json");
    let mut command = scene.command(&["share", written.to_str().unwrap()]);
    let shared = command.env("USER", "Ada").output().unwrap();
    assert_eq!(shared.status.code(), Some(0), "{}", stderr(&shared));
    assert!(
        stderr(&shared).contains("open a pull request"),
        "{}",
        stderr(&shared)
    );
    scene.path(stdout(&shared).trim())
}

fn check(scene: &Scene, file: &Path) -> (Option<i32>, String) {
    let checked = scene.mlxbench(&["community", "check", file.to_str().unwrap()]);
    (checked.status.code(), stdout(&checked) + &stderr(&checked))
}

#[test]
fn a_shared_result_names_nobody_and_is_accepted() {
    let scene = Scene::new();
    let file = share(&scene);
    let text = fs::read_to_string(&file).unwrap();
    let home = scene.path("").display().to_string();
    assert!(!text.contains(home.trim_end_matches('/')), "{text}");
    assert!(
        text.contains("of someone") && !text.contains("Ada"),
        "{text}"
    );
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["run"]["model"]["source"], "model");
    assert_eq!(result["run"]["model"]["folder"], "model");
    assert_eq!(check(&scene, &file).0, Some(0));
    let own = scene.mlxbench(&["report", file.to_str().unwrap()]);
    assert!(own.status.success(), "{}", stderr(&own));

    let page = scene.mlxbench(&["community", "page", "-o", "page.html"]);
    assert_eq!(page.status.code(), Some(0), "{}", stderr(&page));
    let page = fs::read_to_string(scene.path("page.html")).unwrap();
    assert!(
        page.contains("Gemma by chip") && page.contains("pp8+tg5"),
        "{page}"
    );
}

#[test]
fn what_others_send_is_checked() {
    let scene = Scene::new();
    let file = share(&scene);
    let text = fs::read_to_string(&file).unwrap();
    let with = |changed: &str| {
        fs::write(&file, changed).unwrap();
        check(&scene, &file)
    };
    for (changed, why) in [
        (
            text.replace("\"pipelined\"", "\"faster\""),
            "not a result of mlxbench",
        ),
        (
            text.replace("of someone", "of /home/ada/secret"),
            "it holds a path, in",
        ),
        (
            text.replace("\"folder\":\"model\"", "\"folder\":\"my/model\""),
            "the path of a model",
        ),
        (
            text.replace("of someone", "of another"),
            "by what it holds its name is",
        ),
        (text.replace("\"finished\":\"", "\"then\":\""), "cut short"),
        (
            format!("{text}{}", " ".repeat(9 << 20)),
            "at most are taken",
        ),
    ] {
        let (code, told) = with(&changed);
        assert_eq!(code, Some(1), "{why}: {told}");
        assert!(told.contains(why), "{why}: {told}");
    }
    assert_eq!(with(&text).0, Some(0));
    let elsewhere = scene.path("elsewhere.json");
    fs::write(&elsewhere, &text).unwrap();
    assert_eq!(check(&scene, &elsewhere).0, Some(1));
}

#[test]
fn what_is_not_finished_is_not_shared() {
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &["--fault", "die@1"])));
    scene.mlxbench(&["run", "config.toml"]);
    let written = scene.written("Z.json");
    let shared = scene.mlxbench(&["share", written.to_str().unwrap()]);
    assert_eq!(shared.status.code(), Some(2));
    assert!(
        stderr(&shared).contains("nothing was measured"),
        "{}",
        stderr(&shared)
    );
    let none = scene.mlxbench(&["community", "page", "results"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        stderr(&none).contains("holds no shared result"),
        "{}",
        stderr(&none)
    );
}
