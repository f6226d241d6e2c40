//! `tokenizer.json`: made from the vocabulary, or taken.

use mlxbench_core::Dtype;
use tokenizers::Tokenizer;

use crate::fixture::Fixture;
use crate::writer::Field;

fn tokenizer(fixture: &Fixture) -> Tokenizer {
    let file = fixture.import(Dtype::F32).unwrap().join("tokenizer.json");
    Tokenizer::from_file(file).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn it_is_made_from_the_vocabulary() {
    let tokenizer = tokenizer(&Fixture::new("gemma3"));
    let ids = |text| ids(&tokenizer, text);
    assert_eq!(ids("abc"), [2, 8, 5], "the better merge goes first");
    assert_eq!(ids("a  a"), [2, 8, 4, 8], "a run goes before all merges");
    assert_eq!(
        ids("a  b c"),
        [2, 8, 4, 9, 7, 10],
        "two spaces are one piece"
    );
    assert_eq!(tokenizer.decode(&[2, 8, 4, 9], true).unwrap(), "a  b");
}

#[test]
fn tokens_around_a_text_are_those_that_the_file_asks_for() {
    for (bos, eos, expected) in [
        (false, false, vec![8]),
        (true, true, vec![2, 8, 1]),
        (false, true, vec![8, 1]),
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture
            .gguf
            .set("tokenizer.ggml.add_bos_token", Field::Bool(bos));
        fixture
            .gguf
            .set("tokenizer.ggml.add_eos_token", Field::Bool(eos));
        assert_eq!(ids(&tokenizer(&fixture), "a"), expected);
    }
}

#[test]
fn one_beside_the_file_is_taken() {
    let fixture = Fixture::new("gemma");
    let theirs = tokenizer(&Fixture::new("gemma")).to_string(true).unwrap();
    std::fs::write(fixture.path("tokenizer.json"), &theirs).unwrap();
    let imported = fixture.import(Dtype::F32).unwrap();
    let taken = std::fs::read_to_string(imported.join("tokenizer.json")).unwrap();
    assert_eq!(taken, theirs);
}

#[test]
fn the_files_chat_template_comes_along() {
    let mut fixture = Fixture::new("gemma3");
    let template = "{{ bos_token }}{{ messages[0].content }}";
    fixture
        .gguf
        .set("tokenizer.chat_template", Field::text(template));
    let imported = fixture.import(Dtype::F32).unwrap();
    let written = std::fs::read_to_string(imported.join("chat_template.jinja")).unwrap();
    assert_eq!(written, template);
}

#[test]
fn one_that_is_none_is_told() {
    let fixture = Fixture::new("gemma");
    std::fs::write(fixture.path("tokenizer.json"), "<html>").unwrap();
    let message = fixture.import(Dtype::F32).unwrap_err();
    assert!(
        message.contains("tokenizer.json: no tokenizer"),
        "{message}"
    );
    assert!(!fixture.path("imported").exists());
}

#[test]
fn a_file_without_a_vocabulary_makes_a_folder_without_a_tokenizer() {
    for model in [None, Some("none"), Some("no_vocab")] {
        let mut fixture = Fixture::new("gemma3");
        fixture
            .gguf
            .metadata
            .retain(|(key, _)| !key.starts_with("tokenizer."));
        if let Some(model) = model {
            fixture.gguf.set("tokenizer.ggml.model", Field::text(model));
        }
        let imported = fixture.import(Dtype::F32).unwrap();
        assert!(!imported.join("tokenizer.json").exists());
        assert!(imported.join("config.json").exists());
    }
}

#[test]
fn what_no_tokenizer_can_be_made_of_is_told_with_its_key() {
    for (key, value) in [
        ("tokenizer.ggml.model", Field::text("gpt2")),
        ("tokenizer.ggml.add_space_prefix", Field::Bool(true)),
        ("tokenizer.ggml.unknown_token_id", Field::U32(64)),
        (
            "tokenizer.ggml.scores",
            Field::List(vec![Field::text("x"); 64]),
        ),
        (
            "tokenizer.ggml.tokens",
            Field::List(vec![Field::text(&"x".repeat(5000)); 64]),
        ),
        ("tokenizer.ggml.tokens", Field::U32(3)),
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture.gguf.set(key, value);
        let message = fixture.refusal();
        let named = message.contains(key) || message.contains("`gpt2`");
        assert!(named && message.contains("tokenizer"), "{message}");
    }
    let mut fixture = Fixture::new("gemma3");
    fixture.gguf.set(
        "tokenizer.ggml.scores",
        Field::List(vec![Field::F32(0.0); 63]),
    );
    assert!(fixture.refusal().contains("64 pieces, 63 scores"));
}
