//! The log-probabilities that a server tells, beside those of a reference that has its weights: the mock's, whose
//! logits are 1 for one token and 0 for all others.

use serde_json::{Value, json};

use super::{Script, Server, good, json_answer};
use crate::chat::{TEMPLATE, add_template};
use crate::support::{Scene, stderr, stdout};

/// Tokens of the scene's vocabulary.
const VOCABULARY: u64 = 64;
/// Tokens that are compared.
const POSITIONS: u64 = 6;
/// The unknown word of the scene's tokenizer, and the last token of what completions are asked for.
const UNKNOWN: u64 = 3;

/// What the mock generates after a token.
fn next(token: u64) -> u64 {
    (token * 6_364_136_223 + 1_442_695_041) % VOCABULARY
}

/// An answer whose tokens follow `last`, of which it tells the likeliest and another one; `flat` where it finds all
/// tokens of the vocabulary equally likely.
fn told(last: u64, flat: bool) -> Vec<u8> {
    let top = if flat { 1.0 } else { std::f64::consts::E };
    let sum = top + (VOCABULARY - 1) as f64;
    let (top, other) = ((top / sum).ln(), (1.0 / sum).ln());
    let mut ids = Vec::new();
    let mut token = last;
    // One more than was asked for.
    for _ in 0..=POSITIONS {
        token = next(token);
        ids.push(token);
    }
    let content = ids.iter().map(|id| {
        let likeliest = json!({"id": id, "token": "a", "logprob": top});
        let another = json!({"id": (id + 1) % VOCABULARY, "token": "b", "logprob": other});
        json!({"id": id, "token": "a", "logprob": top, "top_logprobs": [another, likeliest]})
    });
    let content: Vec<Value> = content.collect();
    let choice = json!({"text": "", "logprobs": {"content": content}});
    let body = json!({"choices": [choice], "usage": {"prompt_tokens": 99}});
    json_answer(200, "OK", &body)
}

/// mlx_lm.server's way: completions are asked as chats are.
fn by_flag(flat: bool, n: usize, body: &Value) -> Vec<u8> {
    match &body["logprobs"] {
        Value::Null => good(n, body),
        Value::Bool(true) if body["stream"] == false && body["temperature"] == 0 => {
            told(UNKNOWN, flat)
        }
        _ => json_answer(
            400,
            "Bad Request",
            &json!({"error": "logprobs must be of type bool"}),
        ),
    }
}

/// A scene whose config names the weights of `server`.
fn scene(server: &Server, more: &str) -> Scene {
    let scene = super::scene();
    add_template(&scene, TEMPLATE);
    server.config(&scene, "requests = 1", more);
    let path = scene.path("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace(
        "source = \"server:tiny\"\n",
        &format!(
            "source = \"server:tiny\"\nweights = \"model\"\n[equivalence]\nreference = \"mock/cpu/f32\"\npositions = \
             {POSITIONS}\n"
        ),
    );
    std::fs::write(path, config).unwrap();
    scene
}

fn compared(script: Script, more: &str) -> (Option<i32>, Value, String) {
    let server = Server::start(script);
    let scene = scene(&server, more);
    let ran = scene.mlxbench(&["run", "config.toml"]);
    let table = format!("{}\n{}", stdout(&ran), stderr(&ran));
    let known = scene.result()["equivalences"][0].clone();
    (ran.status.code(), known, table)
}

const COMPLETIONS: &str = "endpoint = \"completions\"";

#[test]
fn a_server_with_the_references_probabilities_did_its_work() {
    let hot = format!("{COMPLETIONS}\nextra = {{ temperature = 1 }}");
    let (code, known, table) = compared(|n, body| by_flag(false, n, body), &hot);
    assert_eq!(code, Some(0), "{table}");
    // Never `identical`: most of the vocabulary wasn't seen.
    assert_eq!(known["verdict"], "equivalent", "{table}");
    let fidelity = &known["fidelity"];
    assert_eq!(
        (&fidelity["positions"], &fidelity["agreeing_positions"]),
        (&json!(POSITIONS), &json!(POSITIONS))
    );
    assert!(table.contains("1 equivalent"), "{table}");
}

#[test]
fn chats_are_compared_by_the_models_template() {
    // The template's prompt ends with ":", the seventh word of the vocabulary.
    let script: Script = |n, body| match &body["logprobs"] {
        Value::Null => good(n, body),
        _ => told(7, false),
    };
    let (code, known, table) = compared(script, "");
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(known["verdict"], "equivalent", "{table}");
}

#[test]
fn a_server_with_other_probabilities_did_other_work() {
    let (code, known, table) = compared(|n, body| by_flag(true, n, body), COMPLETIONS);
    assert_eq!(code, Some(3), "{table}");
    assert_eq!(known["verdict"], "different");
    let reason = known["reason"].as_str().unwrap();
    assert!(reason.contains("99 tokens in a prompt"), "{reason}");
}

#[test]
fn a_server_that_tells_nothing_or_fails_is_unchecked_and_timed() {
    let nothing: Script = |n, body| match &body["logprobs"] {
        Value::Null => good(n, body),
        _ => json_answer(200, "OK", &json!({"choices": [{"text": "a b"}]})),
    };
    let broken: Script = |n, body| match &body["logprobs"] {
        Value::Null => good(n, body),
        _ => json_answer(500, "Error", &json!({"error": "no such feature"})),
    };
    let elsewhere: Script = |n, body| match &body["logprobs"] {
        Value::Null => good(n, body),
        _ => {
            let named = json!({"token": "zebra", "logprob": -0.5});
            let choice = json!({"text": "zebra", "logprobs": {"content": [named]}});
            json_answer(200, "OK", &json!({"choices": [choice]}))
        }
    };
    for (script, says) in [
        (nothing, "the server gives no log-probabilities"),
        (broken, "no such feature"),
        (elsewhere, "\"zebra\", isn't in the vocabulary"),
    ] {
        let (code, known, table) = compared(script, COMPLETIONS);
        assert_eq!(code, Some(0), "{table}");
        assert_eq!(known["verdict"], "unchecked");
        let reason = known["reason"].as_str().unwrap();
        assert!(reason.contains(says), "{reason}");
    }
}

#[test]
fn weights_that_make_no_prompt_are_refused_with_what_to_write() {
    let server = Server::start(good);
    let scene = scene(&server, "");
    std::fs::remove_file(scene.path("model/tokenizer_config.json")).unwrap();
    let refused = || {
        let ran = scene.mlxbench(&["run", "config.toml"]);
        assert_eq!(ran.status.code(), Some(2), "{}", stdout(&ran));
        stderr(&ran)
    };
    let words = refused();
    assert!(words.contains("endpoint = \"completions\""), "{words}");
    std::fs::remove_file(scene.path("model/tokenizer.json")).unwrap();
    let words = refused();
    assert!(words.contains("no tokenizer.json here"), "{words}");
    let config = std::fs::read_to_string(scene.path("config.toml")).unwrap();
    for (from, to, says) in [
        (
            "weights = \"model\"",
            "weights = \"server:tiny\"",
            "is on a server, too",
        ),
        (
            "source = \"server:tiny\"",
            "source = \"model\"",
            "whose source is \"server:NAME\"",
        ),
        (
            "reference = \"mock/cpu/f32\"",
            "reference = \"fake/server/f32\"",
            "is a server: servers are compared with a worker",
        ),
        (
            "reference = \"mock/cpu/f32\"",
            "reference = \"mock/cuda/f32\"",
            "can't run",
        ),
    ] {
        std::fs::write(scene.path("config.toml"), config.replace(from, to)).unwrap();
        let words = refused();
        assert!(words.contains(says), "{words}");
    }
}
