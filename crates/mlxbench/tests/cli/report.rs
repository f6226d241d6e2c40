//! `mlxbench report` and `mlxbench history`: results to files.

use std::path::Path;

use serde_json::Value;

use crate::support::{Scene, TEST, mock, stderr, stdout};

/// A scene with one result of a mock worker, copied to `result.json`.
fn measured() -> Scene {
    let scene = Scene::new();
    scene.config(&format!("{TEST}{}", mock("mock", &[])));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    std::fs::copy(scene.written("Z.json"), scene.path("result.json")).unwrap();
    scene
}

#[track_caller]
fn done(scene: &Scene, arguments: &[&str]) -> String {
    let output = scene.mlxbench(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// What a command says that ends with `code`.
#[track_caller]
fn ends_with(scene: &Scene, code: i32, arguments: &[&str]) -> String {
    let output = scene.mlxbench(arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    message
}

#[test]
fn a_file_gets_the_format_of_its_ending() {
    let scene = measured();
    for (file, begin) in [
        ("page.html", "<!DOCTYPE html>"),
        ("table.md", "## scene"),
        ("table.csv", "run,started,"),
        ("result2.json", "{"),
    ] {
        done(&scene, &["report", "result.json", "-o", file]);
        let text = std::fs::read_to_string(scene.path(file)).unwrap();
        assert!(text.starts_with(begin), "{file}: {text}");
    }
    let json = done(
        &scene,
        &["report", "result.json", "--format", "llama-bench-json"],
    );
    assert!(json.contains("\"model_filename\""), "{json}");
}

#[test]
fn a_page_has_the_config_that_measures_again() {
    let scene = measured();
    done(&scene, &["report", "result.json", "-o", "page.html"]);
    let page = std::fs::read_to_string(scene.path("page.html")).unwrap();
    let config = page.split_once("<pre").unwrap().1;
    let config = config
        .split_once("<code>")
        .unwrap()
        .1
        .split_once("</code>")
        .unwrap()
        .0;
    std::fs::write(scene.path("again.toml"), config.replace("&quot;", "\"")).unwrap();
    done(&scene, &["run", "again.toml", "--out", "again"]);
    let result = |path: &Path| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let own = std::fs::read_dir(scene.path("again/scene")).unwrap();
    let mut own = own.map(|entry| entry.unwrap().path());
    let again = result(
        &own.find(|path| path.extension().is_some_and(|end| end == "json"))
            .unwrap(),
    );
    let before = result(&scene.path("result.json"));
    for part in ["settings", "tests", "targets"] {
        assert_eq!(again["run"][part], before["run"][part], "{part}");
    }
}

#[test]
fn a_table_ends_with_the_command_for_the_page() {
    let scene = measured();
    let shown = done(&scene, &["report", "result.json"]);
    let next = shown
        .lines()
        .last()
        .unwrap()
        .strip_prefix("next: mlxbench ")
        .unwrap();
    done(&scene, &next.split(' ').collect::<Vec<_>>());
    let shown = done(&scene, &["run", "config.toml", "--out", "other"]);
    let next = shown
        .lines()
        .last()
        .unwrap()
        .strip_prefix("next: mlxbench ")
        .unwrap();
    done(&scene, &next.split(' ').collect::<Vec<_>>());
    assert!(scene.path("scene.html").exists());
}

#[test]
fn charts_go_into_a_folder() {
    let scene = measured();
    let written = done(
        &scene,
        &["report", "result.json", "--format", "svg", "-o", "charts"],
    );
    assert!(
        written
            .lines()
            .any(|path| Path::new(path).ends_with("decode.svg")),
        "{written}"
    );
    let svg = std::fs::read_to_string(scene.path("charts/decode.svg")).unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.contains("mock/cpu/f32"),
        "{svg}"
    );
    let message = ends_with(&scene, 2, &["report", "result.json", "--format", "svg"]);
    assert!(message.contains("-o DIR"), "{message}");
    let message = ends_with(&scene, 2, &["report", "result.json", "-o", "decode.svg"]);
    assert!(message.contains("--format svg -o DIR"), "{message}");
}

#[test]
fn rows_of_other_programs_stand_beside_ours_and_in_no_table_of_repetitions() {
    let scene = measured();
    let other = "Timing with prompt_tokens=8, generation_tokens=5, batch_size=1.\n\
                 Trial 1:  prompt_tps=812.125, generation_tps=99.500, peak_memory=0.750, total_time=1.500\n\
                 Averages: prompt_tps=812.125, generation_tps=99.500, peak_memory=0.750\n";
    std::fs::write(scene.path("other.txt"), other).unwrap();
    let table = done(&scene, &["report", "result.json", "other.txt"]);
    assert!(
        table.contains("mlx_lm.benchmark") && table.contains("external"),
        "{table}"
    );
    let message = ends_with(
        &scene,
        2,
        &["report", "result.json", "other.txt", "--format", "csv"],
    );
    assert!(
        message.contains("other.txt") && message.contains("leave it out"),
        "{message}"
    );
    let half = &other[..other.len() - 30];
    std::fs::write(scene.path("other.txt"), half).unwrap();
    let message = ends_with(&scene, 2, &["report", "other.txt"]);
    assert!(message.contains("other.txt: line 3"), "{message}");
}

#[test]
fn tables_in_a_document_are_written_again_and_known_to_be_stale() {
    let scene = measured();
    let document =
        "# Mine\n\n<!-- mlxbench: result.json -->\nstale words\n<!-- /mlxbench -->\nrest\n";
    std::fs::write(scene.path("doc.md"), document).unwrap();
    let check = ["report", "--splice", "doc.md", "--check"];
    let message = ends_with(&scene, 1, &check);
    assert!(message.contains("doc.md is stale: run"), "{message}");
    done(&scene, &["report", "--splice", "doc.md"]);
    let text = std::fs::read_to_string(scene.path("doc.md")).unwrap();
    assert!(
        text.starts_with("# Mine\n\n<!-- mlxbench: result.json -->\n"),
        "{text}"
    );
    assert!(text.ends_with("<!-- /mlxbench -->\nrest\n"), "{text}");
    assert!(
        text.contains("| mock f32 |") && !text.contains("stale words"),
        "{text}"
    );
    done(&scene, &check);
    let message = ends_with(&scene, 2, &["report", "result.json", "--check"]);
    assert!(message.contains("--splice DOC"), "{message}");
}

#[test]
fn a_document_with_faulty_markers_is_left_alone() {
    let scene = measured();
    for (document, words) in [
        ("nothing\n", "put `<!-- mlxbench: RESULT.json -->`"),
        ("<!-- mlxbench: result.json -->\n", "line 1"),
        ("a\n<!-- /mlxbench -->\n", "line 2"),
        (
            "<!-- mlxbench: absent.json -->\n<!-- /mlxbench -->\n",
            "absent.json",
        ),
    ] {
        std::fs::write(scene.path("doc.md"), document).unwrap();
        let message = ends_with(&scene, 2, &["report", "--splice", "doc.md"]);
        assert!(message.contains(words), "{document}: {message}");
        let after = std::fs::read_to_string(scene.path("doc.md")).unwrap();
        assert_eq!(after, document);
    }
}

/// README.md's tables are those of the committed results.
#[test]
fn the_readme_is_not_stale() {
    let scene = Scene::new();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    done(
        &scene,
        &["report", "--splice", readme.to_str().unwrap(), "--check"],
    );
}

#[test]
fn a_history_has_all_results_of_a_folder_and_names_what_is_none() {
    let scene = measured();
    std::fs::write(scene.path("results/broken.json"), "{").unwrap();
    let output = scene.mlxbench(&["history", "results", "-o", "history.html"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("left out: results/broken.json"),
        "{}",
        stderr(&output)
    );
    let page = std::fs::read_to_string(scene.path("history.html")).unwrap();
    assert!(page.contains("1 result: too few to tell"), "{page}");
    std::fs::create_dir(scene.path("empty")).unwrap();
    let message = ends_with(&scene, 2, &["history", "empty", "-o", "history.html"]);
    assert!(message.contains("empty holds no result"), "{message}");
}

#[test]
fn more_results_than_are_shown_side_by_side_are_data_or_a_history() {
    let scene = measured();
    let many = ["result.json"; 101];
    let message = ends_with(&scene, 2, &[&["report"][..], &many[..]].concat());
    assert!(
        message.contains("101 files") && message.contains("mlxbench history"),
        "{message}"
    );
    let csv = done(
        &scene,
        &[&["report", "--format", "csv"][..], &many[..]].concat(),
    );
    let alone = done(&scene, &["report", "--format", "csv", "result.json"]);
    let rows = |csv: &str| csv.lines().count() - 1;
    assert_eq!(rows(&csv), 101 * rows(&alone));
}

/// Twelve results, of which the last half take `factor` times as long.
fn history_of(scene: &Scene, factor: u64) {
    let text = std::fs::read_to_string(scene.path("result.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    let folder = scene.path("series");
    std::fs::create_dir_all(&folder).unwrap();
    for day in 0..12 {
        // None twice the same.
        let times = if day < 6 { 1000 } else { 1000 * factor } + day;
        let mut own = result.clone();
        own["run"]["started"] = format!("2026-01-{:02}T00:00:00Z", day + 1).into();
        for sample in own["samples"].as_array_mut().unwrap() {
            for time in sample["token_ns"].as_array_mut().unwrap() {
                *time = (time.as_u64().unwrap() * times / 1000).into();
            }
        }
        std::fs::write(folder.join(format!("{day}.json")), own.to_string()).unwrap();
    }
}

#[test]
fn a_history_fails_on_a_worse_level_when_asked() {
    let scene = measured();
    history_of(&scene, 2);
    let command = ["history", "series", "-o", "history.html"];
    let lenient = scene.mlxbench(&command);
    assert_eq!(lenient.status.code(), Some(0), "{}", stderr(&lenient));
    let text = stdout(&lenient);
    assert!(text.contains("worse since"), "{text}");
    assert!(text.contains("mock f32 decode fell 50 %"), "{text}");
    let failing = [&command[..], &["--fail-on", "worse"]].concat();
    ends_with(&scene, 1, &failing);
    history_of(&scene, 1);
    ends_with(&scene, 0, &failing);
}
