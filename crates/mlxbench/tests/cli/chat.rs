//! Conversations through the real programs: kept caches, files and templates, reports, refusals.

use serde_json::{Value, json};

use crate::interrupts::{end_of, interrupt};
use crate::support::{Scene, TINY, mock, stderr, stdout};

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

#[test]
fn candle_answers_from_the_kept_cache_what_the_reference_answers() {
    let scene = Scene::new();
    // A window that holds the whole conversation: nothing that a turn sees is dropped.
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
    let targets =
        "[[target]]\nbackend = \"candle\"\ndevice = \"cpu\"\ndtypes = [\"f32\", \"bf16\"]\n";
    scene.checked_config(&format!(
        "{ONCE}[equivalence]\npositions = 8\n{MADE}{targets}"
    ));
    let run = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let result = scene.result();
    let known = result["equivalences"].as_array().unwrap();
    let bf16 = known
        .iter()
        .find(|known| known["verdict"] != "reference")
        .unwrap();
    assert_eq!(bf16["verdict"], "equivalent", "{bf16}");
    assert_eq!(bf16["fidelity"]["positions"], 8, "{bf16}");
    let checks = result["checks"].as_array().unwrap();
    let verdicts: Vec<&Value> = checks.iter().map(|check| &check["verdict"]).collect();
    assert_eq!(verdicts, ["reference", "equivalent"]);
    assert_eq!(
        checks[1]["fidelity"]["positions"], 3,
        "the starts of the turns"
    );
    for sample in result["samples"].as_array().unwrap() {
        assert_eq!(counts(&sample["turns"], "read_tokens"), [16, 10, 10]);
    }
    let path = scene.written("Z.json");
    let path = path.to_str().unwrap();
    for (format, parts) in [
        (
            "md",
            [
                "Turns of the conversations",
                "warm TTFT",
                "chat s12+3x(u4+r6)+tg3",
            ],
        ),
        (
            "html",
            ["Turns of the conversations", "warm TTFT", "Conversations"],
        ),
        (
            "csv",
            [
                "chat s12+3x(u4+r6)+tg3",
                ",3,", // turns
                "overall_tokens_per_second",
            ],
        ),
        (
            "json",
            ["warm_ttft_ns", "cold_ttft_ns", "overall_tokens_per_second"],
        ),
    ] {
        let out = scene.path(&format!("report.{format}"));
        let report = scene.mlxbench(&[
            "report",
            path,
            "--format",
            format,
            "-o",
            out.to_str().unwrap(),
        ]);
        assert!(report.status.success(), "{}", stderr(&report));
        let text = std::fs::read_to_string(&out).unwrap();
        for part in parts {
            assert!(text.contains(part), "{format} has no {part:?}");
        }
    }
    assert!(stdout(&run).contains("overall t/s"), "{}", stdout(&run));
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
