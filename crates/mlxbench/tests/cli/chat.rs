//! Conversations through the real programs: kept caches, files and templates, reports, refusals.

use serde_json::{Value, json};

use crate::interrupts::{end_of, interrupt};
use crate::support::{Scene, TINY, mock, stderr, stdout, worker};

const MADE: &str = "[[test]]\nkind = \"chat\"\nturns = 3\nsystem_tokens = 12\nuser_tokens = 4\n\
                    reply_tokens = 6\ngenerate_tokens = 3\n";

const MOCK: &str = "[[target]]\nbackend = \"mock\"\ndtypes = [\"f32\"]\n";

const ONCE: &str = "[measure]\nrepetitions = 2\nprocesses = 1\nwarmup = 0\nchunk = 64\n";

fn counts(turns: &Value, key: &str) -> Vec<u64> {
    let turns = turns["turns"].as_array().unwrap();
    turns
        .iter()
        .map(|turn| turn[key].as_u64().unwrap())
        .collect()
}

#[test]
fn a_warm_turn_of_the_mock_takes_the_time_of_its_new_tokens() {
    let scene = Scene::new();
    scene.config(&format!("{ONCE}{MADE}{MOCK}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    assert_eq!(result["run"]["tests"][0]["kind"], "chat");
    let turns = &result["samples"][0]["turns"];
    assert_eq!(counts(turns, "prompt_tokens"), [16, 26, 36]);
    assert_eq!(counts(turns, "read_tokens"), [16, 10, 10]);
    let first = |turn: &Value| turn["token_ns"][0].as_u64().unwrap();
    let turn = |at: usize| first(&turns["turns"][at]);
    // A millisecond a token.
    assert_eq!(
        (turn(0), turn(1), turn(2)),
        (16_000_000, 10_000_000, 10_000_000)
    );
    assert_eq!(turns["cold_ttft_ns"], 36_000_000);
}

/// A scene whose model has a window that holds the whole conversation: nothing that a turn sees is dropped.
fn with_wide_window() -> Scene {
    let scene = Scene::new();
    let wide = TINY.replace("\"sliding_window\": 4", "\"sliding_window\": 64");
    std::fs::write(scene.path("wide.json"), wide).unwrap();
    let made = scene.mlxbench(&[
        "model",
        "synth",
        "wide.json",
        "-o",
        "wide",
        "--dtype",
        "f32",
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    std::fs::remove_dir_all(scene.path("model")).unwrap();
    std::fs::rename(scene.path("wide"), scene.path("model")).unwrap();
    scene
}

/// `candle f32 reference` of each target, where as many `positions` were compared of all but the reference.
fn verdicts(result: &Value, of: &str, positions: usize) -> Vec<String> {
    let known = result[of].as_array().unwrap().iter();
    known
        .map(|known| {
            let (target, verdict) = (&known["target"], &known["verdict"]);
            if verdict != "reference" {
                assert_eq!(known["fidelity"]["positions"], positions, "{known}");
            }
            let (backend, precision) = (&target["backend"], &target["placement"]["precision"]);
            format!("{backend} {precision} {verdict}").replace('"', "")
        })
        .collect()
}

#[test]
fn every_framework_answers_from_the_kept_cache_what_the_reference_answers() {
    for name in ["candle", "tch", "mlx"] {
        worker(&format!("mlxbench-worker-{name}"));
    }
    let scene = with_wide_window();
    let target = |(name, dtypes): (&str, &str)| {
        format!("[[target]]\nbackend = \"{name}\"\ndevice = \"cpu\"\ndtypes = [{dtypes}]\n")
    };
    let targets = [
        ("candle", "\"f32\", \"bf16\""),
        ("tch", "\"f32\""),
        ("mlx", "\"f32\""),
    ];
    let targets = targets.map(target).concat();
    scene.checked_config(&format!(
        "{ONCE}[equivalence]\npositions = 8\n{MADE}{targets}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let expected = [
        "candle f32 reference",
        "candle bf16 equivalent",
        "tch f32 identical",
        "mlx f32 identical",
    ];
    assert_eq!(verdicts(&result, "equivalences", 8), expected);
    let starts_of_turns = 3;
    assert_eq!(verdicts(&result, "checks", starts_of_turns), expected);
    for sample in result["samples"].as_array().unwrap() {
        assert_eq!(counts(&sample["turns"], "read_tokens"), [16, 10, 10]);
    }
    assert!(stdout(&run).contains("overall t/s"), "{}", stdout(&run));
    assert_reports(&scene);
}

/// Every form of report tells of the conversation in `scene`.
fn assert_reports(scene: &Scene) {
    let name = "chat s12+3x(u4+r6)+tg3";
    let heading = "Turns of the conversations";
    let markdown = report(scene, "md");
    for part in [heading, "warm TTFT", "memory so far", "(process)", name] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    let page = report(scene, "html");
    for part in [heading, "warm TTFT", "Conversations"] {
        assert!(page.contains(part), "{part}");
    }
    let csv = report(scene, "csv");
    let turns = ",3,";
    for part in [name, turns, "overall_tokens_per_second"] {
        assert!(csv.contains(part), "{part}: {csv}");
    }
    let summary = report(scene, "json");
    for part in ["warm_ttft_ns", "cold_ttft_ns", "overall_tokens_per_second"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_memory_by_turn(&summary);
}

/// The report on the result of `scene`.
fn report(scene: &Scene, format: &str) -> String {
    let (result, out) = (
        scene.written("Z.json"),
        scene.path(&format!("report.{format}")),
    );
    let (result, out) = (result.to_str().unwrap(), out.to_str().unwrap());
    let made = scene.mlxbench(&["report", result, "--format", format, "-o", out]);
    assert!(made.status.success(), "{}", stderr(&made));
    std::fs::read_to_string(out).unwrap()
}

/// Each turn of each target has its memory; candle keeps no count of its own.
fn assert_memory_by_turn(report: &Value) {
    for row in report["summary"]["rows"].as_array().unwrap() {
        let turns = row["chat"]["turns"].as_array().unwrap();
        assert_eq!(turns.len(), 3, "{row}");
        for memory in turns.iter().map(|turn| &turn["memory"]) {
            assert!(memory["bytes"].as_u64().unwrap() > 0, "{row}");
            if row["target"]["backend"] == "candle" {
                assert_eq!(memory["of"], "process", "{row}");
            }
        }
    }
}

#[test]
fn a_window_that_cannot_go_back_reads_the_history_again() {
    let scene = Scene::new();
    let target = mock("forgetful", &["--rewinds", "1"]);
    scene.config(&format!("{ONCE}{MADE}{target}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let turns = &scene.result()["samples"][0]["turns"];
    assert_eq!(counts(turns, "read_tokens"), [16, 26, 36]);
    let again = "42 tokens of history read again";
    assert!(
        stdout(&run).replace("\n  ", " ").contains(again),
        "{}",
        stdout(&run)
    );
}

#[test]
fn a_cache_that_keeps_what_a_turn_takes_back_makes_a_conversation_different() {
    let scene = Scene::new();
    let (sound, other) = (mock("sound", &[]), mock("other", &["--wrong-after-rewind"]));
    scene.checked_config(&format!(
        "[equivalence]\nreference = \"sound/cpu/f32\"\npositions = 2\n{ONCE}{MADE}{sound}{other}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    let result = scene.result();
    let verdicts = |of: &str| -> Vec<Value> {
        let known = result[of].as_array().unwrap().iter();
        known.map(|known| known["verdict"].clone()).collect()
    };
    // A generation alone never rewinds: only the conversation tells.
    assert_eq!(verdicts("equivalences"), ["reference", "identical"]);
    assert_eq!(verdicts("checks"), ["reference", "different"]);
    let headline = stdout(&run).lines().next().unwrap().to_owned();
    assert!(headline.starts_with("mock (sound)"), "{headline}");
}

/// A tokenizer of a word a letter, and a template.
pub(crate) fn add_template(scene: &Scene, template: &str) {
    let words = [
        "<pad>",
        "<bos>",
        "<unk>",
        "user",
        "assistant",
        "system",
        ":",
        "hello",
        "yes",
        "no",
    ];
    let vocab: serde_json::Map<String, Value> = words
        .iter()
        .enumerate()
        .map(|(at, word)| ((*word).into(), json!(at + 1)))
        .collect();
    let special = |id: usize| {
        json!({"id": id, "content": words[id - 1], "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
    };
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(2), special(3)], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}});
    let config = json!({"bos_token": "<bos>", "chat_template": template});
    std::fs::write(scene.path("model/tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(
        scene.path("model/tokenizer_config.json"),
        config.to_string(),
    )
    .unwrap();
}

pub(crate) const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message.role }} : {{ message.content }} \
                        {% endfor %}{% if add_generation_prompt %}assistant : {% endif %}";

fn messages(roles: &[&str]) -> String {
    let line = |role: &&str| format!("{{\"role\": \"{role}\", \"content\": \"hello yes no\"}}\n");
    roles.iter().map(line).collect()
}

const FILE: &str = "[[test]]\nkind = \"chat\"\nconversation = [\"first.jsonl\", \"second.jsonl\"]\ngenerate_tokens = 2\n";

#[test]
fn conversations_from_files_go_through_the_models_template() {
    let scene = Scene::new();
    add_template(&scene, TEMPLATE);
    std::fs::write(
        scene.path("first.jsonl"),
        messages(&["system", "user", "assistant", "user"]),
    )
    .unwrap();
    std::fs::write(
        scene.path("second.jsonl"),
        messages(&["user", "assistant", "user"]),
    )
    .unwrap();
    scene.config(&format!("{ONCE}{FILE}{MOCK}"));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let sizes = |at: usize| {
        let test = &result["run"]["tests"][at];
        (
            test["conversation"].as_str().unwrap(),
            test["turns"].as_u64(),
            test["prompt_tokens"].as_u64(),
        )
    };
    // A begin token, five words a message, and two that begin the answer.
    assert_eq!(sizes(0), ("first", Some(2), Some(1 + 4 * 5 + 2)));
    assert_eq!(sizes(1), ("second", Some(2), Some(1 + 3 * 5 + 2)));
    let said = stdout(&run).replace("\n  ", " ");
    assert!(said.contains("geometric mean over first, second"), "{said}");
}

#[test]
fn what_is_no_conversation_is_refused_before_anything_runs() {
    let scene = Scene::new();
    let refused = |rest: &str, said: &[&str]| {
        scene.config(&format!("{rest}{MOCK}"));
        let run = scene.mlxbench(&["run", "config.toml"]);
        assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
        for part in said {
            assert!(stderr(&run).contains(part), "{part}: {}", stderr(&run));
        }
    };
    let one = "[[test]]\nkind = \"chat\"\nconversation = \"one.jsonl\"\ngenerate_tokens = 2\n";
    let chat = "[[test]]\nkind = \"chat\"\ngenerate_tokens = 2\n";
    refused(
        "[[test]]\nprompt_tokens = 4\nturns = 2\n",
        &["`turns`", "kind = \"chat\""],
    );
    refused(
        &format!("{chat}depth = 4\n"),
        &["`depth`", "this one's is \"chat\""],
    );
    refused("[[test]]\nkind = \"chat\"\n", &["needs generate_tokens"]);
    refused(&format!("{one}turns = 3\n"), &["`turns` is a size"]);
    refused(
        &format!("{chat}turns = 200\n"),
        &["tokens of context, the model has 256"],
    );
    refused(one, &["one.jsonl", "No such file"]);
    let write = |roles: &[&str]| std::fs::write(scene.path("one.jsonl"), messages(roles)).unwrap();
    write(&[]);
    refused(one, &["one.jsonl", "no message of the user"]);
    write(&["user", "user"]);
    refused(one, &["one.jsonl", "line 2: roles don't alternate"]);
    write(&["user"]);
    refused(one, &["no chat template here"]);
    add_template(&scene, "{{ raise_exception('not today') }}");
    refused(one, &["tokenizer_config.json", "one.jsonl", "not today"]);
}

#[test]
fn an_interrupted_conversation_goes_on_where_it_was() {
    let scene = Scene::new();
    // A conversation has two caches, the second for its last prompt read cold: the third one is of the second
    // repetition.
    scene.config(&format!(
        "{ONCE}{MADE}{}",
        mock("frail", &["--fault", "hang@3"])
    ));
    let run = scene.run_until("2/2");
    interrupt(&run);
    assert_eq!(end_of(run).code(), Some(130));
    scene.config(&format!("{ONCE}{MADE}{}", mock("frail", &[])));
    let resumed = scene.mlxbench(&["run", "config.toml", "--resume"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    assert_eq!(scene.result()["samples"].as_array().unwrap().len(), 2);
}
