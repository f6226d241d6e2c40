//! Files that are cut short, that lie, or that are no GGUF files: a message, and nothing left.

use mlxbench_core::Dtype;

use crate::fixture::Fixture;
use crate::writer::{Field, Gguf, Stored};

/// The message of a file of these bytes.
fn refusal(fixture: &Fixture, bytes: &[u8]) -> String {
    std::fs::write(fixture.path("model.gguf"), bytes).unwrap();
    let message = fixture.import_file("model.gguf", Dtype::F32).unwrap_err();
    assert_eq!(fixture.names(), ["model", "model.gguf"], "{message}");
    assert!(message.contains("model.gguf"), "{message}");
    assert!(message.len() < 1000, "{message}");
    message
}

#[test]
fn a_truncated_file_is_told_and_how_parts_are_joined() {
    let fixture = Fixture::new("gemma3");
    let whole = fixture.gguf.bytes();
    let header = fixture.gguf.header().len();
    // In the last tensor, in the middle of the tensors, in the header, in the first number.
    for length in [
        whole.len() - 100,
        whole.len() / 2,
        header,
        header - 5,
        500,
        10,
        5,
    ] {
        let message = refusal(&fixture, &whole[..length]);
        assert!(
            message.contains("not a whole GGUF file") && message.contains("cat PARTS"),
            "{length}: {message}"
        );
    }
}

#[test]
fn what_is_no_gguf_file_is_told() {
    let fixture = Fixture::new("gemma3");
    let whole = fixture.gguf.bytes();
    let rest = refusal(&fixture, &whole[whole.len() / 2..]);
    assert!(
        rest.contains("not a GGUF file") && rest.contains("split by bytes"),
        "{rest}"
    );
    let zip = refusal(&fixture, b"PK\x03\x04 and more");
    assert!(zip.contains(r"`PK\x03\x04 and`"), "{zip}");
    assert!(refusal(&fixture, b"").contains("empty"));
    let folder = fixture.import_file("model", Dtype::F32).unwrap_err();
    assert!(folder.contains("not a file"), "{folder}");
    let nothing = fixture.import_file("nowhere.gguf", Dtype::F32).unwrap_err();
    assert!(nothing.contains("nowhere.gguf"), "{nothing}");
}

#[test]
fn other_versions_are_named() {
    let fixture = Fixture::new("gemma3");
    let with = |version: u32| {
        let mut bytes = fixture.gguf.bytes();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        bytes
    };
    assert!(refusal(&fixture, &with(4)).contains("version 4"));
    assert!(refusal(&fixture, &with(3 << 24)).contains("big-endian"));
    std::fs::write(fixture.path("model.gguf"), with(2)).unwrap();
    fixture.import_file("model.gguf", Dtype::F32).unwrap();
}

#[test]
fn version_1_has_shorter_lengths() {
    let mut bytes = b"GGUF\x01\0\0\0".to_vec();
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    bytes.extend(text("general.architecture"));
    bytes.extend(8u32.to_le_bytes());
    bytes.extend(text("llama\0"));
    let fixture = Fixture::new("gemma3");
    assert!(refusal(&fixture, &bytes).contains("`llama`"));
}

#[test]
fn lengths_beyond_the_file_are_refused_with_their_key() {
    const KEY: &str = "gemma3.some_key";
    let text = |length: u64| Field::Raw(8, length.to_le_bytes().to_vec());
    let list = |kind: u32, length: u64| {
        Field::Raw(9, [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat())
    };
    for value in [
        text(1 << 40),
        text(u64::MAX),
        list(4, 1 << 40),
        list(4, u64::MAX),
        list(0, 1 << 62),
        list(8, 1 << 40),
        list(9, 1 << 40),
        list(13, 1),
        Field::Raw(77, vec![]),
        Field::Raw(7, vec![2]),
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture.gguf.set(KEY, value);
        let message = refusal(&fixture, &fixture.gguf.bytes());
        assert!(message.contains(&format!("`{KEY}`")), "{message}");
    }
}

#[test]
fn counts_beyond_the_file_are_refused() {
    let fixture = Fixture::new("gemma3");
    for place in [8, 16] {
        let mut bytes = fixture.gguf.bytes();
        bytes[place..place + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        refusal(&fixture, &bytes);
    }
}

#[test]
fn names_that_could_harm_a_terminal_are_not_printed() {
    for name in ["a\u{1b}[31mb", "", "a\nb"] {
        let mut fixture = Fixture::new("gemma3");
        fixture.gguf.set(name, Field::U32(1));
        let message = refusal(&fixture, &fixture.gguf.bytes());
        assert!(message.contains("is no name"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

#[test]
fn what_is_there_twice_is_refused() {
    let mut fixture = Fixture::new("gemma3");
    let again = ("gemma3.block_count".to_owned(), Field::U32(6));
    fixture.gguf.metadata.push(again);
    let message = refusal(&fixture, &fixture.gguf.bytes());
    assert!(
        message.contains("`gemma3.block_count` is there twice"),
        "{message}"
    );

    let mut fixture = Fixture::new("gemma3");
    let again = fixture.gguf.tensor("output_norm.weight").clone();
    fixture.gguf.tensors.push(again);
    let message = refusal(&fixture, &fixture.gguf.bytes());
    assert!(
        message.contains("`output_norm.weight` is there twice"),
        "{message}"
    );
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    for (shape, kind) in [
        (vec![1 << 33, 1 << 33], 0),
        (vec![u64::MAX, u64::MAX, u64::MAX, u64::MAX], 0),
        (vec![64, 0], 0),
        (vec![], 0),
        (vec![1; 5], 0),
        // A row of a block and a half.
        (vec![64, 48], 8),
    ] {
        let mut fixture = Fixture::new("gemma3");
        let tensor = fixture.gguf.tensor("token_embd.weight");
        (tensor.shape, tensor.kind) = (shape, kind);
        let message = refusal(&fixture, &fixture.gguf.bytes());
        assert!(message.contains("`token_embd.weight`"), "{message}");
    }
}

#[test]
fn tensors_at_the_same_bytes_are_refused() {
    let tensor = |name: &str, size: usize| Stored {
        name: name.into(),
        shape: vec![size as u64],
        kind: 0,
        // The first one says that it is longer than its data.
        data: vec![0; 128],
    };
    let lying = Gguf {
        metadata: Vec::new(),
        tensors: vec![tensor("first", 40), tensor("second", 32)],
    };
    let message = refusal(&Fixture::new("gemma3"), &lying.bytes());
    assert!(message.contains("`first` and `second`"), "{message}");
}
