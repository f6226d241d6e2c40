//! The JSON Schemas in `schemas/`: made from the types, and true of configs and results.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Scene, TEST, mock, stderr, stdout};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn schema(of: &str) -> Value {
    let printed = Scene::new().mlxbench(&["schema", of]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    serde_json::from_slice(&printed.stdout).unwrap()
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let scene = Scene::new();
    for of in ["config", "result", "ops"] {
        let printed = stdout(&scene.mlxbench(&["schema", of]));
        let path = repository().join(format!("schemas/{of}.json"));
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            printed == published,
            "run `target/release/mlxbench schema {of} > schemas/{of}.json`"
        );
    }
}

#[test]
fn every_config_of_ours_is_true_to_the_schema_and_a_wrong_one_is_not() {
    let validator = jsonschema::validator_for(&schema("config")).unwrap();
    let folder = repository().join("bench-configs");
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|file| file.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let config: Value = toml::from_str(&text).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&config)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        let mut wrong = config.clone();
        wrong["test"][0]["promt_tokens"] = 7.into();
        assert!(!validator.is_valid(&wrong));
        wrong = config;
        wrong["target"][0]["dtypes"][0] = "f64".into();
        assert!(!validator.is_valid(&wrong));
    }
}

#[test]
fn results_are_true_to_the_schema() {
    let validator = jsonschema::validator_for(&schema("result")).unwrap();
    let scene = Scene::new();
    let absent = "[[target]]\nbackend = \"absent\"\ndtypes = [\"f32\"]\n";
    scene.config(&format!("{TEST}{absent}{}", mock("mock", &[])));
    scene.mlxbench(&["run", "config.toml"]);
    let result = scene.result();
    let errors: Vec<String> = validator
        .iter_errors(&result)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let mut wrong = result;
    wrong["samples"][0]["token_ns"][0] = "soon".into();
    assert!(!validator.is_valid(&wrong));
}
