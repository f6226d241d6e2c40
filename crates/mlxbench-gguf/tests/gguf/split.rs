//! Models in several files.

use std::path::PathBuf;

use mlxbench_core::{Checkpoint, Dtype};

use crate::fixture::Fixture;
use crate::writer::{Field, Gguf};

/// A fixture with its model in three files, whose contents `change` may spoil.
fn split(change: impl Fn(&mut Vec<Gguf>)) -> Fixture {
    let fixture = Fixture::new("gemma3");
    let mut parts = fixture.gguf.split(fixture.gguf.tensors.len().div_ceil(3));
    change(&mut parts);
    for (number, part) in parts.iter().enumerate() {
        std::fs::write(path(&fixture, number + 1), part.bytes()).unwrap();
    }
    fixture
}

fn name(number: usize) -> String {
    format!("m-{number:05}-of-00003.gguf")
}

fn path(fixture: &Fixture, number: usize) -> PathBuf {
    fixture.path(&name(number))
}

/// The message of an import that must fail and leave nothing behind.
fn refusal(fixture: &Fixture, file: &str) -> String {
    let message = fixture.import_file(file, Dtype::F32).unwrap_err();
    assert!(!fixture.path("imported").exists(), "{message}");
    message
}

#[test]
fn all_parts_are_joined_whichever_is_named() {
    for number in 1..=3 {
        let fixture = split(|_| {});
        let imported = fixture.import_file(&name(number), Dtype::F32).unwrap();
        assert!(fixture.largest_difference(&imported) < 1e-7);
        let checkpoint = Checkpoint::open(&imported).unwrap();
        assert_eq!(checkpoint.config(), &fixture.config);
    }
}

#[test]
fn metadata_may_stand_in_every_part() {
    let fixture = split(|parts| {
        let (first, others) = parts.split_first_mut().unwrap();
        for part in others {
            for (key, value) in &first.metadata {
                if !key.starts_with("split.") {
                    part.set(key, value.clone());
                }
            }
        }
    });
    fixture.import_file(&name(2), Dtype::F32).unwrap();
    let fixture = split(|parts| parts[2].set("gemma3.rope.freq_base", Field::F32(7.0)));
    let imported = fixture.import_file(&name(1), Dtype::F32).unwrap();
    let checkpoint = Checkpoint::open(&imported).unwrap();
    assert_eq!(checkpoint.config().flat().unwrap().rope_theta, 7.0);
}

#[test]
fn parts_that_disagree_are_refused() {
    let fixture = split(|parts| parts[2].set("gemma3.attention.key_length", Field::U32(32)));
    let message = refusal(&fixture, &name(1));
    assert!(
        message.contains(&name(3)) && message.contains("`gemma3.attention.key_length`"),
        "{message}"
    );
    let fixture = split(|parts| parts.swap(1, 2));
    let message = refusal(&fixture, &name(1));
    assert!(message.contains("part 3 of 3"), "{message}");
    let fixture = split(|parts| {
        let first = parts[0].tensors[0].clone();
        parts[1].tensors.push(first);
    });
    let message = refusal(&fixture, &name(1));
    assert!(message.contains("`token_embd.weight`"), "{message}");
    let fixture = split(|parts| drop(parts[1].tensors.pop()));
    assert!(refusal(&fixture, &name(1)).contains("`split.tensors.count`"));
    let fixture = split(|parts| parts[1].remove("split.count"));
    assert!(refusal(&fixture, &name(1)).contains("no part of a split model"));
}

#[test]
fn a_missing_part_is_named() {
    for (missing, given) in [(1, 2), (2, 1), (3, 2)] {
        let fixture = split(|_| {});
        std::fs::remove_file(path(&fixture, missing)).unwrap();
        let message = refusal(&fixture, &name(given));
        assert!(
            message.contains(&name(missing)) && message.contains("fetch all parts"),
            "{message}"
        );
    }
}

#[test]
fn a_part_under_another_name_is_told_its_own() {
    let fixture = split(|_| {});
    std::fs::rename(path(&fixture, 2), fixture.path("second.gguf")).unwrap();
    let message = refusal(&fixture, "second.gguf");
    assert!(
        message.contains("part 2 of 3") && message.contains("-00002-of-00003.gguf"),
        "{message}"
    );
}

#[test]
fn impossible_counts_of_parts_are_refused() {
    for (key, value) in [
        ("split.count", Field::U32(u32::MAX)),
        ("split.count", Field::I32(-2)),
        ("split.count", Field::text("2")),
        ("split.no", Field::U16(3)),
        ("split.no", Field::I32(-1)),
    ] {
        let fixture = split(|parts| parts[0].set(key, value.clone()));
        let message = refusal(&fixture, &name(1));
        assert!(message.contains(&format!("`{key}`")), "{message}");
    }
}

#[test]
fn a_part_that_was_cut_short_is_named() {
    let fixture = split(|_| {});
    let whole = std::fs::read(path(&fixture, 2)).unwrap();
    std::fs::write(path(&fixture, 2), &whole[..whole.len() - 64]).unwrap();
    let message = refusal(&fixture, &name(1));
    assert!(
        message.contains(&name(2)) && message.contains("not a whole GGUF file"),
        "{message}"
    );
}

#[test]
fn parts_that_repeat_what_is_no_number_agree() {
    let fixture = split(|parts| {
        for part in parts {
            part.set("general.x", Field::F32(f32::NAN));
        }
    });
    fixture.import_file(&name(1), Dtype::F32).unwrap();
}
