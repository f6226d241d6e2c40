//! What users get wrong: one message that says what, where and what to do, exit code 2, nothing run.

use std::process::Output;

use crate::support::{Scene, TEST, mock, stderr};

/// The message of a command that must fail with exit code 2.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
    assert!(output.stdout.is_empty(), "nothing is printed to stdout");
    stderr(output)
}

fn run_refusal(scene: &Scene) -> String {
    let message = refusal(&scene.mlxbench(&["run", "config.toml"]));
    assert!(!scene.path("results").exists(), "nothing was started");
    message
}

#[test]
fn a_config_that_is_not_there_or_not_toml_is_named() {
    let scene = Scene::new();
    let message = refusal(&scene.mlxbench(&["run", "nowhere.toml"]));
    assert!(message.contains("nowhere.toml"), "{message}");
    assert_eq!(message.matches("No such file").count(), 1, "{message}");
    // The programs under test lie in a checkout, which has the configs that mlxbench comes with.
    let message = refusal(&scene.mlxbench(&["run", "quik"]));
    assert!(
        message.contains("`quik`") && message.contains(" quick"),
        "{message}"
    );
    std::fs::write(scene.path("config.toml"), "name = \n").unwrap();
    let message = run_refusal(&scene);
    assert!(
        message.contains("config.toml") && message.contains("line 1"),
        "{message}"
    );
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_one() {
    let scene = Scene::new();
    scene.checked_config(&format!("fallbck = \"model\"\n{TEST}{}", mock("mock", &[])));
    let message = run_refusal(&scene);
    assert!(
        message.contains("line 4") && message.contains("did you mean `fallback`?"),
        "{message}"
    );
}

#[test]
fn a_test_longer_than_the_context_is_refused() {
    let scene = Scene::new();
    scene.config(&format!(
        "[[test]]\nprompt_tokens = 300\n{}",
        mock("mock", &[])
    ));
    let message = run_refusal(&scene);
    assert!(
        message.contains("pp300") && message.contains("256"),
        "{message}"
    );
}

#[test]
fn a_text_prompt_without_a_tokenizer_is_refused() {
    let scene = Scene::new();
    scene.config(&format!(
        "[prompt]\ntext = \"hello\"\n{TEST}{}",
        mock("mock", &[])
    ));
    assert!(run_refusal(&scene).contains("tokenizer.json"));
}

#[test]
fn a_target_listed_twice_is_refused() {
    let scene = Scene::new();
    let twice = mock("mock", &[]).replace("[\"f32\"]", "[\"f32\", \"f32\"]");
    scene.config(&format!("{TEST}{twice}"));
    assert!(run_refusal(&scene).contains("mock/cpu/f32 is listed twice"));
}

#[test]
fn a_model_that_cannot_be_used_is_named() {
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &[])));
    let weights = scene.path("model/model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let message = run_refusal(&scene);
    assert!(
        message.contains("model.safetensors") && message.contains("truncated"),
        "{message}"
    );

    std::fs::remove_file(scene.path("model/config.json")).unwrap();
    assert!(run_refusal(&scene).contains("no config.json"));
}

#[test]
fn the_fallback_is_taken_and_told() {
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &[])));
    let text = std::fs::read_to_string(scene.path("config.toml")).unwrap();
    let text = text.replace(
        "source = \"model\"",
        "source = \"gone\"\nfallback = \"model\"",
    );
    std::fs::write(scene.path("config.toml"), text).unwrap();
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let reason = scene.result()["run"]["model"]["fallback_reason"].clone();
    assert!(reason.as_str().unwrap().contains("gone"), "{reason}");
}

#[test]
fn a_script_that_prints_a_folder_is_a_source() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &[])));
    let text = std::fs::read_to_string(scene.path("config.toml")).unwrap();
    let text = text.replace("source = \"model\"", "source = \"script:fetch.sh\"");
    std::fs::write(scene.path("config.toml"), text).unwrap();
    let script = scene.path("fetch.sh");
    let folder = scene.path("model");
    std::fs::write(
        &script,
        format!("#!/bin/sh\necho fetching\necho {}\n", folder.display()),
    )
    .unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
}

#[test]
fn wrong_flags_are_told_with_their_usage() {
    let scene = Scene::new();
    assert!(refusal(&scene.mlxbench(&["run", "--fliter", "x", "c.toml"])).contains("--filter"));
    let message =
        refusal(&scene.mlxbench(&["generate", "--model", "model", "--backend", "candle"]));
    assert!(message.contains("--prompt"), "{message}");
    let message = refusal(&scene.mlxbench(&["report", "tiny.json", "--format", "pdf"]));
    assert!(message.contains("write html, text, md"), "{message}");
}

#[test]
fn a_file_that_is_no_result_is_not_reported() {
    let scene = Scene::new();
    let message = refusal(&scene.mlxbench(&["report", "tiny.json"]));
    assert!(message.contains("not a result of mlxbench"), "{message}");
}

#[test]
fn a_model_that_is_not_on_this_machine_is_told_with_the_command_that_gets_it() {
    let scene = Scene::new();
    for model in ["hf:nobody/nothing", "synthetic:gemma-2b@99"] {
        let message = refusal(&scene.mlxbench(&["model", "show", model]));
        let command = format!("run `mlxbench model fetch {model}` first");
        assert!(message.contains(&command), "{message}");
    }
    std::fs::write(scene.path("x.gguf"), "GGUF").unwrap();
    let message = refusal(&scene.mlxbench(&["model", "show", "x.gguf"]));
    assert!(message.contains("write gguf:x.gguf"), "{message}");
}
