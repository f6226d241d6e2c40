//! The check of every target against the reference: healthy targets pass, broken models don't.

use std::path::{Path, PathBuf};

use mlxbench_conformance::Golden;
use serde_json::{Value, json};

use crate::support::{Scene, stderr, stdout, worker};

const BACKENDS: [&str; 3] = ["candle", "tch", "mlx"];
const DTYPES: [&str; 3] = ["f32", "bf16", "f16"];

/// A mistake that implementations of Gemma make.
struct Mistake {
    name: &'static str,
    /// The golden of `mlxbench-core` that shows it.
    golden: &'static str,
    /// What it amounts to in `config.json`.
    config: fn(&mut Value),
    /// What it amounts to in the weights.
    weight: fn(&str, f32) -> f32,
}

const MISTAKES: [Mistake; 5] = [
    Mistake {
        name: "soft-cap left out",
        golden: "gemma2",
        config: |config| config["attn_logit_softcapping"] = Value::Null,
        weight: |_, element| element,
    },
    Mistake {
        name: "window off by one",
        golden: "gemma2",
        config: |config| config["sliding_window"] = json!(5),
        weight: |_, element| element,
    },
    Mistake {
        name: "window off by one",
        golden: "gemma3",
        config: |config| config["sliding_window"] = json!(3),
        weight: |_, element| element,
    },
    Mistake {
        name: "RoPE bases swapped",
        golden: "gemma3",
        config: |config| {
            let (global, local) = (
                config["rope_theta"].clone(),
                config["rope_local_base_freq"].clone(),
            );
            config["rope_theta"] = local;
            config["rope_local_base_freq"] = global;
        },
        weight: |_, element| element,
    },
    Mistake {
        name: "norm without +1",
        golden: "gemma1",
        config: |_| {},
        weight: |name, element| {
            if name.contains("norm") {
                element - 1.0
            } else {
                element
            }
        },
    },
];

#[test]
fn every_mistake_is_different_in_every_dtype_of_every_backend() {
    for mistake in &MISTAKES {
        let scene = scene(mistake);
        scene.checked_config(&config(&scene));

        let run = scene.mlxbench(&["run", "config.toml"]);
        assert_eq!(
            run.status.code(),
            Some(3),
            "{}{}",
            stdout(&run),
            stderr(&run)
        );
        let result = scene.result();
        let equivalences = result["equivalences"].as_array().unwrap();
        assert_eq!(equivalences.len(), 2 * BACKENDS.len() * DTYPES.len());
        for equivalence in equivalences {
            let target = &equivalence["target"];
            let backend = target["backend"].as_str().unwrap();
            let dtype = target["placement"]["precision"].as_str().unwrap();
            let expected: &[&str] = match (backend, dtype) {
                (broken, _) if broken.starts_with("broken") => &["different"],
                ("candle", "f32") => &["reference"],
                (_, "f32") => &["identical"],
                _ => &["equivalent"],
            };
            let verdict = equivalence["verdict"].as_str().unwrap();
            assert!(
                expected.contains(&verdict),
                "{} in {}, {backend}/{dtype}: {equivalence}",
                mistake.name,
                mistake.golden
            );
        }
    }
}

#[test]
fn the_new_build_of_the_reference_is_checked_against_the_old_one() {
    let scene = scene(&MISTAKES[0]);
    let candle = worker("mlxbench-worker-candle");
    let program = slip_in(&scene);
    // The worker beside mlxbench is the new one, too.
    scene.checked_config(&format!(
        "{SETTINGS}[[target]]\nbackend = \"candle\"\ndevice = \"cpu\"\ndtypes = [\"f32\"]\n\
         [backend.candle]\ncommand = [\"sh\", {program:?}, {candle:?}]\n"
    ));
    let (old, new) = (format!("{candle:?}"), format!("sh {program:?} {candle:?}"));
    let run = scene.mlxbench(&["run", "config.toml", "--ab", &old, &new]);
    // Which of the two is right, nobody has looked at: no gate fails, and nobody takes it for fine.
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let shown = stdout(&run);
    assert!(
        shown.contains("not comparable: it computes something different from side a"),
        "{shown}"
    );
}

/// A scene with the golden in `model/`, and what the mistake makes of it in `broken/`.
fn scene(mistake: &Mistake) -> Scene {
    let scene = Scene::new();
    let golden = golden(mistake.golden);
    std::fs::remove_dir_all(scene.path("model")).unwrap();
    for folder in ["model", "broken"] {
        std::fs::create_dir(scene.path(folder)).unwrap();
    }
    golden.write(&scene.path("model")).unwrap();
    golden
        .write_altered(&scene.path("broken"), mistake.weight)
        .unwrap();
    alter_config(&scene.path("broken/config.json"), mistake.config);
    scene
}

fn golden(name: &str) -> Golden {
    let goldens = Golden::all().unwrap();
    goldens
        .into_iter()
        .find(|golden| golden.name == name)
        .unwrap()
}

fn alter_config(path: &Path, alter: fn(&mut Value)) {
    let mut config = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    alter(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

const SETTINGS: &str = "[equivalence]\npositions = 24\n\
    [measure]\nrepetitions = 1\nwarmup = 0\nthreads = 1\n\
    [[test]]\nprompt_tokens = 12\n";

/// A script that gives a worker the broken model, whatever it is asked to load.
fn slip_in(scene: &Scene) -> PathBuf {
    let program = scene.path("slip-in");
    let script = format!(
        "sed -u 's#\"model\":\"[^\"]*\"#\"model\":\"{}\"#' | exec \"$1\"\n",
        scene.path("broken").display()
    );
    std::fs::write(&program, script).unwrap();
    program
}

/// Every backend as it is, and once more with the broken model slipped in.
fn config(scene: &Scene) -> String {
    let mut config = String::from(SETTINGS);
    let program = slip_in(scene);
    for backend in BACKENDS {
        let worker = worker(&format!("mlxbench-worker-{backend}"));
        let dtypes = DTYPES.map(|dtype| format!("{dtype:?}")).join(", ");
        for name in [backend.to_owned(), format!("broken-{backend}")] {
            config += &format!(
                "[[target]]\nbackend = \"{name}\"\ndevice = \"cpu\"\ndtypes = [{dtypes}]\n"
            );
        }
        config +=
            &format!("[backend.broken-{backend}]\ncommand = [\"sh\", {program:?}, {worker:?}]\n");
    }
    config
}
