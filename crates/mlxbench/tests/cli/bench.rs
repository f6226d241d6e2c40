//! `mlxbench bench`, several models in one run, and the config that a result keeps.

use crate::support::{Scene, TEST, mock, stderr, stdout, worker};

/// Small and quick, on the mock.
const QUICK: [&str; 12] = [
    "--backend",
    "mock",
    "--dtype",
    "f32",
    "-r",
    "2",
    "--processes",
    "1",
    "--no-warmup",
    "--reference",
    "none",
    "--mode=pipelined",
];

fn bench(scene: &Scene, arguments: &[&str]) -> std::process::Output {
    worker("mlxbench-worker-mock");
    scene.mlxbench(&[&["bench"], arguments, &QUICK].concat())
}

#[test]
fn letters_measure_what_a_file_would() {
    let scene = Scene::new();
    let letters = [
        "-m", "model", "-p", "4-8*2", "-n", "3,5", "-n", "6", "-d", "0,2", "-pg", "4,3", "-b", "1",
    ];
    let run = bench(&scene, &[&letters[..], &["-o", "csv"]].concat());
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let table = stdout(&run);
    for test in [
        "pp4",
        "pp8",
        "tg3",
        "tg5",
        "tg6",
        "pp4+tg3",
        "pp4 @ d2",
        "pp4+tg3 @ d2",
    ] {
        assert_eq!(
            table.matches(&format!(",{test},")).count(),
            2,
            "{test}: {table}"
        );
    }
    assert_eq!(table.lines().count(), 1 + 2 * 12);

    let config = bench(&scene, &[&letters[..], &["--print-config"]].concat());
    assert!(config.status.success(), "{}", stderr(&config));
    std::fs::write(scene.path("mine.toml"), &config.stdout).unwrap();
    let run = scene.mlxbench(&["run", "mine.toml", "--out", "again", "--json"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let (by_letters, by_file) = (scene.only("results/bench"), scene.only("again/bench"));
    for part in ["tests", "targets", "settings", "prompts_sha256", "config"] {
        assert_eq!(by_letters["run"][part], by_file["run"][part], "{part}");
    }
    let kept = by_file["run"]["config"].as_str().unwrap();
    assert!(stdout(&config).ends_with(kept), "{kept}");
}

#[test]
fn several_models_are_a_result_each_and_one_table() {
    let scene = Scene::new();
    let made = scene.mlxbench(&["model", "synth", "tiny.json", "-o", "other", "--seed", "7"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let run = bench(
        &scene,
        &["-m", "model,other", "-p", "4", "-n", "0", "-o", "md"],
    );
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    for name in ["model", "other"] {
        let result = scene.only(&format!("results/bench-{name}"));
        assert_eq!(result["run"]["name"], format!("bench-{name}"));
        assert_eq!(result["run"]["model"]["name"], name);
        assert_eq!(result["samples"].as_array().unwrap().len(), 2);
        assert!(
            stdout(&run).contains(&format!("{name} (")),
            "{}",
            stdout(&run)
        );
    }
}

#[test]
fn one_of_several_models_is_compared_and_resumed() {
    let scene = Scene::new();
    let model = "[[model]]\nsource = \"model\"\n[[model]]\nsource = \"./model/../model/.\"\n";
    let config = |models: &str| {
        let text = format!(
            "name = \"scene\"\n{models}[equivalence]\nreference = \"none\"\n[roofline]\nprobe = false\n{TEST}{}",
            mock("mock", &[])
        );
        std::fs::write(scene.path("config.toml"), text).unwrap();
    };
    config(model);
    let run = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("--resume is about one model"),
        "{}",
        stderr(&run)
    );
    let run = scene.mlxbench(&["run", "config.toml", "--model", "absent"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("none of the config's models: model, "),
        "{}",
        stderr(&run)
    );
    let run = scene.mlxbench(&["run", "config.toml", "--model", "/../", "--json"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let printed: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(printed["run"]["model"]["source"], "./model/../model/.");
}

#[test]
fn letters_that_make_no_sense_are_answered() {
    let scene = Scene::new();
    let refusals: [(&[&str], &str); 6] = [
        (&["-p", "many"], "512-2048*2"),
        (&["-p", "0", "-n", "0"], "no [[test]]"),
        (&["-b", "0"], "-b 0: write 1 or more"),
        (&["-o", "pdf"], "no report format"),
        (&["-n", "1"], "leaves no decode step"),
        (&["--name", "../x"], "letters, digits"),
    ];
    for (arguments, answer) in refusals {
        let run = bench(&scene, &[&["-m", "model"], arguments].concat());
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&run).contains(answer),
            "{arguments:?}: {}",
            stderr(&run)
        );
    }
    assert!(!scene.path("results").exists());
}

#[test]
fn a_dry_run_says_what_would_be_and_starts_nothing() {
    let scene = Scene::new();
    let letters = [
        "-m",
        "model,synthetic:gemma-3-270m,hf:someone/else",
        "-p",
        "8",
        "-n",
        "5",
    ];
    let dry = bench(&scene, &[&letters[..], &["--dry-run"]].concat());
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    let told = stdout(&dry);
    for answer in [
        "model        model, in ",
        "made first: 511.",
        "hf:someone/else, fetched first",
        "pp8, tg5",
        "mock/cpu/f32",
        "(a guess)",
        "per core and 8 GB/s (CPU)",
        "Nothing was fetched, made or measured.",
    ] {
        assert!(told.contains(answer), "{answer}: {told}");
    }
    assert!(!scene.path("results").exists() && !scene.path("cache").exists());

    // With a result of this machine it is no guess any more.
    let letters = ["-m", "model", "-p", "0", "-n", "0", "-pg", "16,5"];
    let run = bench(&scene, &letters);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let dry = bench(
        &scene,
        &[&letters[..], &["--dry-run", "-o", "json"]].concat(),
    );
    let told: serde_json::Value = serde_json::from_slice(&dry.stdout).unwrap();
    let by = told[0]["targets"][0]["by"].as_str().unwrap();
    assert!(by.starts_with("results/bench/"), "{by}");
    let [least, most] = [0, 1].map(|at| told[0]["seconds"][at].as_f64().unwrap());
    assert!(0.0 < least && least < most, "{least} {most}");
}

#[test]
fn a_dry_run_names_what_can_not_run_here() {
    let scene = Scene::new();
    scene.config(&format!(
        "{TEST}[[target]]\nbackend = \"absent\"\ndtypes = [\"f32\"]\noptional = true\n{}device = \"mps\"\n",
        mock("mock", &[]).split_inclusive("[backend").next().unwrap().trim_end_matches("[backend")
    ));
    let dry = scene.mlxbench(&["run", "config.toml", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    let told = stdout(&dry);
    assert!(
        told.contains("left out: the worker `mlxbench-worker-absent`"),
        "{told}"
    );
    assert!(
        told.contains("fails: mock has no device `mps` here"),
        "{told}"
    );
}
