//! Named baselines, and the newest results of a folder, as what a result is compared with.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::compare::{config, result_file, run};
use crate::support::{Scene, TEST, mock, stderr, stdout, worker};

/// Keeps so many runs as baselines called `main`, and hands back their files, the oldest first.
fn keep(scene: &Scene, count: usize) -> Vec<PathBuf> {
    for at in 0..count {
        let out = run(scene, "10000000", &format!("kept-{at}"));
        let saved = scene.mlxbench(&["baseline", "save", "main", &out]);
        assert!(saved.status.success(), "{}", stderr(&saved));
    }
    let machines = fs::read_dir(scene.path("baselines")).unwrap();
    let folders = machines.map(|machine| machine.unwrap().path().join("main"));
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort_unstable();
    files
}

#[test]
fn a_run_is_gated_by_a_named_baseline_of_this_machine() {
    let scene = Scene::new();
    let old = run(&scene, "10000000", "old");
    let missing = scene.mlxbench(&["run", "config.toml", "--baseline", "main"]);
    assert_eq!(missing.status.code(), Some(2));
    let said = stderr(&missing);
    assert!(
        said.contains("no baseline `main` of this machine"),
        "{said}"
    );
    assert!(!scene.path("results").exists(), "it ran all the same");
    let saved = scene.mlxbench(&["baseline", "save", "main", &old]);
    assert!(saved.status.success(), "{}", stderr(&saved));
    let passed = scene.mlxbench(&["run", "config.toml", "--baseline", "main"]);
    assert_eq!(passed.status.code(), Some(0), "{}", stderr(&passed));
    assert!(stdout(&passed).contains("pass: of "), "{}", stdout(&passed));
    config(&scene, "12000000");
    let failed = scene.mlxbench(&["run", "config.toml", "--baseline", "main", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    // Stdout is the result's alone.
    serde_json::from_slice::<Value>(&failed.stdout).unwrap();
    assert!(stderr(&failed).contains("fail: of "), "{}", stderr(&failed));
    // Taken for the new standard, it is what counts.
    let saved = scene.mlxbench(&["baseline", "save", "main", "results/scene"]);
    assert!(saved.status.success(), "{}", stderr(&saved));
    let passed = scene.mlxbench(&["run", "config.toml", "--baseline", "main"]);
    assert_eq!(passed.status.code(), Some(0), "{}", stdout(&passed));
    let named = scene.mlxbench(&["compare", "main", &old]);
    assert!(stdout(&named).contains("+20.0 %"), "{}", stdout(&named));
    let older = scene.mlxbench(&["baseline", "save", "main", &old]);
    assert_eq!(older.status.code(), Some(2));
    assert!(stderr(&older).contains("was measured later"));
    // Nothing of it is in another config's run.
    let other = TEST.replace("generate_tokens = 5", "generate_tokens = 6");
    assert_ne!(other, TEST);
    scene.config(&format!(
        "[measure]\nrepetitions = 2\n{other}{}",
        mock("mock", &[])
    ));
    let apart = scene.mlxbench(&["run", "config.toml", "--baseline", "main"]);
    assert_eq!(apart.status.code(), Some(2));
    assert!(stderr(&apart).contains("none of the targets and tests"));
    let lost = scene.mlxbench(&["run", "config.toml", "--baseline", "old/none.json"]);
    assert_eq!(lost.status.code(), Some(2));
    assert!(
        stderr(&lost).contains("old/none.json: "),
        "{}",
        stderr(&lost)
    );
}

#[test]
fn baselines_are_listed_shown_and_pruned() {
    let scene = Scene::new();
    let old = run(&scene, "10000000", "old");
    for out in [&old, &run(&scene, "10000000", "new")] {
        let saved = scene.mlxbench(&["baseline", "save", "main", out, "--baselines", "kept"]);
        assert!(saved.status.success(), "{}", stderr(&saved));
    }
    let list = || {
        let list = scene.mlxbench(&["baseline", "list", "--json", "--baselines", "kept"]);
        serde_json::from_slice::<Value>(&list.stdout).unwrap()
    };
    let all = list();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(
        (&all[0]["name"], &all[0]["this_machine"]),
        (&json!("main"), &json!(true))
    );
    // What others keep there is theirs.
    let others = scene.path("kept/0123456789abcdef/main");
    fs::create_dir_all(&others).unwrap();
    for name in ["a.json", "b.json"] {
        fs::write(others.join(name), "{}").unwrap();
    }
    let shown = scene.mlxbench(&["baseline", "show", "main", "--baselines", "kept"]);
    assert!(stdout(&shown).contains("pp8+tg5"), "{}", stdout(&shown));
    let pruned = scene.mlxbench(&["baseline", "prune", "--baselines", "kept"]);
    assert!(pruned.status.success());
    assert_eq!(fs::read_dir(&others).unwrap().count(), 2);
    // The newest stays.
    assert_eq!(
        list().as_array().unwrap().as_slice(),
        &all.as_array().unwrap()[1..]
    );
    let wrong = scene.mlxbench(&["baseline", "save", "../main", &old]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("can't name a baseline"));
}

#[test]
fn an_earlier_baseline_that_cannot_be_read_is_left_out() {
    let scene = Scene::new();
    let kept = keep(&scene, 3);
    let new = run(&scene, "10000000", "new");
    let name = |at: usize| kept[at].file_name().unwrap().to_str().unwrap();
    let compare = || {
        let results = ["compare", "main", &new, "--last", "3"];
        scene.mlxbench(&[results.as_slice(), &["--metric", "decode"]].concat())
    };
    let shown = stdout(&compare());
    assert!(shown.contains("The base is 3 runs"), "{shown}");
    fs::write(&kept[0], "{}").unwrap();
    let compared = compare();
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let said = stderr(&compared);
    assert!(
        said.contains("warning: ") && said.contains(name(0)),
        "{said}"
    );
    let shown = stdout(&compared);
    assert!(shown.contains("The base is 2 runs"), "{shown}");
    // Nothing stands for the newest.
    fs::write(&kept[2], "{}").unwrap();
    let compared = compare();
    assert_eq!(compared.status.code(), Some(2), "{}", stdout(&compared));
    let said = stderr(&compared);
    assert!(said.contains("error: ") && said.contains(name(2)), "{said}");
}

#[test]
fn the_newest_results_of_a_folder_are_a_base() {
    let scene = Scene::new();
    for _ in 0..3 {
        run(&scene, "10000000", "old");
    }
    let new = run(&scene, "11500000", "new");
    let compare = |base: &str, last: &str| {
        let arguments = ["compare", base, &new, "--metric", "decode", "--last", last];
        scene.mlxbench(&arguments)
    };
    for (last, base) in [("2", "The base is 2 runs"), ("9", "The base is 3 runs")] {
        let compared = compare("old/scene", last);
        assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
        let shown = stdout(&compared);
        assert!(shown.contains(base), "{shown}");
    }
    // The new one among them isn't its own base.
    let file = result_file(&scene, &new);
    let name = file.file_name().unwrap();
    fs::copy(&file, scene.path("old/scene").join(name)).unwrap();
    for last in ["1", "3"] {
        let compared = compare("old/scene", last);
        assert_eq!(
            compared.status.code(),
            Some(1),
            "{last}: {}",
            stdout(&compared)
        );
    }
    fs::create_dir(scene.path("alone")).unwrap();
    fs::copy(&file, scene.path("alone").join(name)).unwrap();
    let said = stderr(&compare("alone", "1"));
    assert!(said.contains("compared with itself"), "{said}");
    let file = result_file(&scene, "old/scene");
    let refused = compare(file.to_str().unwrap(), "2");
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(said.contains("is one result"), "{said}");
}

#[test]
fn a_run_that_is_named_twice_counts_once() {
    let scene = Scene::new();
    for _ in 0..2 {
        run(&scene, "10000000", "old");
    }
    let new = run(&scene, "11500000", "new");
    let files = files_of(&scene, "old/scene");
    let [first, second] = &files[..] else {
        panic!("{files:?}")
    };
    let arguments = ["compare", first, second, first, &new, "--metric", "decode"];
    let compared = scene.mlxbench(&arguments);
    assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
    let said = stderr(&compared);
    assert!(said.contains("is named twice and counts once"), "{said}");
    let shown = stdout(&compared);
    assert!(shown.contains("The base is 2 runs"), "{shown}");
    // The new one among files isn't its own base.
    let file = result_file(&scene, &new);
    let file = file.to_str().unwrap();
    let arguments = ["compare", first, file, file, "--metric", "decode"];
    let compared = scene.mlxbench(&arguments);
    assert_eq!(compared.status.code(), Some(1), "{}", stdout(&compared));
    // Nor do copies make a history longer.
    for copy in ["old/scene/copy.json", "old/scene/again.json"] {
        fs::copy(first, scene.path(copy)).unwrap();
    }
    let history = scene.mlxbench(&["history", "old"]);
    let said = stderr(&history);
    assert!(said.contains("is of the same run as"), "{said}");
    assert!(said.contains("of 2 results"), "{said}");
}

/// The paths of a folder's files, in their order.
fn files_of(scene: &Scene, folder: &str) -> Vec<String> {
    let files = fs::read_dir(scene.path(folder)).unwrap();
    let files = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
    let mut files: Vec<String> = files.collect();
    files.sort();
    files
}

#[test]
fn a_run_of_two_sides_in_a_folder_is_passed_over_for_a_plain_one() {
    let scene = Scene::new();
    let old = run(&scene, "10000000", "old");
    let new = run(&scene, "11500000", "new");
    let mock = worker("mlxbench-worker-mock").display().to_string();
    let ab = [
        "run",
        "config.toml",
        "--out",
        "old",
        "--metric",
        "decode",
        "--ab",
        &mock,
        &mock,
    ];
    let ab = scene.mlxbench(&ab);
    assert_eq!(ab.status.code(), Some(0), "{}", stderr(&ab));
    let compared = scene.mlxbench(&["compare", &old, &new, "--metric", "decode"]);
    assert_eq!(compared.status.code(), Some(1), "{}", stdout(&compared));
    let sides = scene.mlxbench(&["compare", &old]);
    assert_eq!(sides.status.code(), Some(0), "{}", stderr(&sides));
    assert!(stdout(&sides).contains("side b"), "{}", stdout(&sides));
    // Its sides are no lines of a history.
    let history = scene.mlxbench(&["history", "old"]);
    assert_eq!(history.status.code(), Some(0), "{}", stderr(&history));
    let said = stderr(&history);
    assert!(
        said.contains("left out: results of `run --ab`: 1"),
        "{said}"
    );
    assert!(said.contains("of 1 results"), "{said}");
    // One that is named is told of.
    let sided = files_of(&scene, "old/scene");
    let sided = sided.last().unwrap();
    let refused = scene.mlxbench(&["compare", sided, &new]);
    assert_eq!(refused.status.code(), Some(2), "{}", stdout(&refused));
    let said = stderr(&refused);
    assert!(said.contains("is of `run --ab`"), "{said}");
}

#[test]
fn a_run_is_not_continued_beside_its_own_first_repetitions() {
    let scene = Scene::new();
    let folder = run(&scene, "10000000", "results");
    let more = ["run", "config.toml", "--resume", "--repetitions", "12"];
    let itself = scene.mlxbench(&[&more[..], &["--baseline", &folder]].concat());
    assert_eq!(itself.status.code(), Some(2), "{}", stdout(&itself));
    let said = stderr(&itself);
    assert!(
        said.contains("is the run that --resume continues"),
        "{said}"
    );
    let old = run(&scene, "10000000", "old");
    let beside = ["--baseline", &old, "--baseline", &folder];
    let beside = scene.mlxbench(&[&more[..], &beside].concat());
    assert_eq!(beside.status.code(), Some(0), "{}", stderr(&beside));
    let said = stderr(&beside);
    assert!(said.contains("is among the baselines"), "{said}");
    assert!(!stdout(&beside).contains("The base is 2 runs"));
}
